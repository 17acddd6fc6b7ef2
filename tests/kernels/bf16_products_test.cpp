// Products, norms, element-wise functions, rows of experts, loss and AdamW with bf16 operands, which backend
// cuda alone has, against the reference in double on the same operands: one rounding of what is stored,
// besides the sums' own (bf16_tolerance).
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/activation.h"
#include "kernels/loss.h"
#include "kernels/matmul.h"
#include "kernels/norm.h"
#include "kernels/optim.h"
#include "kernels/routing.h"
#include "tests/kernels/operands.h"

namespace natrix::test {
namespace {

class Bf16Cuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_cuda()) GTEST_SKIP() << "no device";
    cuda = std::make_unique<Context>(Backend::kCuda);
  }
  Buffer bf16(const Shape& shape) { return as(Dtype::kBF16, random.normal(Dtype::kF32, shape).view()); }
  Buffer f32(const Shape& shape) { return random.normal(Dtype::kF32, shape); }
  bool coin() { return random.integer(0, 1) == 1; }
  int64_t awkward() {
    const auto& sizes = awkward_sizes();
    return sizes[static_cast<size_t>(random.integer(0, static_cast<int64_t>(sizes.size()) - 1))];
  }

  /// Runs `kernel`, which writes `out` from `in`, on the device; and on the reference in double, on the
  /// operands as they are and on their magnitudes. terms: of the longest sum.
  void expect_reference(const Buffers& in, const Buffers& out, int64_t terms,
                        const std::function<void(Context&, const Views& in, const Views& out)>& kernel) {
    const auto run = [&](Context& ctx, const Buffers& from, Buffers to) {
      kernel(ctx, Views(from), Views(to));
      return to;
    };
    Buffers copies;
    for (const auto& [name, buffer] : out) copies[name] = copy_of(buffer.view());
    const Buffers got = run(*cuda, in, std::move(copies));
    Buffers large_in = as(Dtype::kF64, in), large_out = as(Dtype::kF64, out);
    for (auto* buffers : {&large_in, &large_out}) {
      for (auto& [name, buffer] : *buffers) {
        if (buffer.view().dtype == Dtype::kF64) buffer = absolute(buffer.view());
      }
    }
    expect_close(
        got, run(reference, as(Dtype::kF64, in), as(Dtype::kF64, out)),
        run(reference, large_in, std::move(large_out)),
        [&](const std::string& name) { return bf16_tolerance(got.at(name).view().dtype, terms); },
        "seed " + std::to_string(random.seed()));
  }

  Random random;
  std::unique_ptr<Context> cuda;
  Context reference{Backend::kReference};
};

TEST_F(Bf16Cuda, ProductsIntoEitherDtype) {
  for (int i = 0; i < 60; ++i) {
    const int64_t M = random.integer(1, 40), N = random.integer(1, 70), K = random.integer(1, 90);
    const bool ta = coin(), tb = coin(), accumulate = coin(), wide_sum = coin();
    const bool with_bias = wide_sum && coin();  // into bf16: below
    Buffers in, out;
    in["a"] = bf16(ta ? Shape{K, M} : Shape{M, K});
    in["b"] = bf16(tb ? Shape{N, K} : Shape{K, N});
    if (with_bias) in["bias"] = f32({N});
    out["c"] = wide_sum ? f32({M, N}) : bf16({M, N});
    expect_reference(in, out, K + 2, [&](Context& ctx, const Views& from, const Views& to) {
      matmul(ctx, {.a = from["a"],
                   .b = from["b"],
                   .c = to["c"],
                   .bias = from["bias"],
                   .transpose_a = ta,
                   .transpose_b = tb,
                   .accumulate = accumulate});
    });
  }
}

TEST_F(Bf16Cuda, ABiasIsAddedToTheStoredProduct) {
  const Buffer a = bf16({7, 33}), b = bf16({13, 33}), bias = f32({13});
  Buffer c = poisoned(Dtype::kBF16, {7, 13}), product = poisoned(Dtype::kBF16, {7, 13});
  matmul(*cuda, {.a = a.view(), .b = b.view(), .c = product.view(), .transpose_b = true});
  matmul(*cuda, {.a = a.view(), .b = b.view(), .c = c.view(), .bias = bias.view(), .transpose_b = true});
  for (int64_t i = 0; i < 7 * 13; ++i) {
    const float sum = static_cast<float>(product.view().as<BFloat16>()[i]) + bias.view().as<float>()[i % 13];
    EXPECT_EQ(c.view().as<BFloat16>()[i].bits, BFloat16(sum).bits);
  }
}

TEST_F(Bf16Cuda, ProductsByGroup) {
  for (int i = 0; i < 15; ++i) {
    const int64_t groups = i == 0 ? 300 : random.integer(1, 9);  // 300: more than one launch takes
    const int64_t K = random.integer(1, 30), N = random.integer(1, 40);
    std::vector<int64_t> offsets{0};
    for (int64_t e = 0; e < groups; ++e)
      offsets.push_back(offsets.back() + std::max<int64_t>(0, random.integer(-2, 9)));
    const bool transpose_b = coin();
    Buffers in, out;
    in["a"] = bf16({offsets.back(), K});
    in["b"] = bf16(transpose_b ? Shape{groups, N, K} : Shape{groups, K, N});
    out["c"] = poisoned(Dtype::kBF16, {offsets.back(), N});
    expect_reference(in, out, K, [&](Context& ctx, const Views& from, const Views& to) {
      grouped_matmul(
          ctx,
          {.a = from["a"], .b = from["b"], .c = to["c"], .offsets = offsets, .transpose_b = transpose_b});
    });
    in["b"] = bf16({offsets.back(), N});
    const bool accumulate = coin();
    out["c"] =
        accumulate ? f32({groups, K, N}) : poisoned(Dtype::kF32, {groups, K, N});  // a weight's gradient
    expect_reference(in, out, 12, [&](Context& ctx, const Views& from, const Views& to) {
      grouped_outer(
          ctx, {.a = from["a"], .b = from["b"], .c = to["c"], .offsets = offsets, .accumulate = accumulate});
    });
  }
}

TEST_F(Bf16Cuda, ProductsOfChosenExperts) {
  for (int i = 0; i < 15; ++i) {
    const int64_t groups = random.integer(1, 9), K = random.integer(1, 70), N = random.integer(1, 40);
    const int64_t rows = random.integer(1, 5), of_a_row = random.integer(1, 3);
    const Buffer expert(Dtype::kI32, {rows, of_a_row});
    for (int64_t s = 0; s < rows * of_a_row; ++s)
      expert.view().as<int32_t>()[s] = static_cast<int32_t>(random.integer(0, groups - 1));
    Buffers in, out;
    in["a"] = bf16({rows, K});
    in["b"] = bf16({groups, N, K});
    out["c"] = poisoned(coin() ? Dtype::kBF16 : Dtype::kF32, {rows * of_a_row, N});
    expect_reference(in, out, K, [&](Context& ctx, const Views& from, const Views& to) {
      chosen_matmul(ctx, {.a = from["a"], .b = from["b"], .expert = expert.view(), .c = to["c"]});
    });
  }
}

TEST_F(Bf16Cuda, SumsOverRows) {
  for (const int64_t rows : {0, 1, 67, 300}) {
    Buffers in, out;
    in["a"] = bf16({rows, 33});
    out["sum"] = f32({33});
    expect_reference(in, out, rows + 1, [](Context& ctx, const Views& from, const Views& to) {
      column_sum(ctx, {.a = from["a"], .sum = to["sum"]});
    });
  }
}

/// Beside the f32 gradient of the residual stream, the same in bf16 for the sublayer that comes next.
TEST_F(Bf16Cuda, NormsRoundWhatTheyHandOn) {
  for (int i = 0; i < 10; ++i) {
    const int64_t R = awkward(), D = awkward();
    const Buffer sum = f32({R, D}), inv_rms = f32({R}), dy = bf16({R, D});
    const Buffer dx = f32({R, D}), rounded = poisoned(Dtype::kBF16, {R, D}), alone = copy_of(dx.view());
    const auto run = [&](View to, View narrow) {
      rms_norm_backward(*cuda, {.sum = sum.view(),
                                .inv_rms = inv_rms.view(),
                                .dy = dy.view(),
                                .dsum = to,
                                .dx = to,
                                .rounded = narrow});
    };
    run(dx.view(), rounded.view());
    run(alone.view(), {});
    EXPECT_TRUE(same_bits(dx.view(), alone.view())) << "seed " << random.seed();
    EXPECT_TRUE(same_bits(rounded.view(), as(Dtype::kBF16, dx.view()).view())) << "seed " << random.seed();
  }
}

/// The residual stream and statistics in f32, what a sublayer leaves and reads in bf16; and the norms within
/// a mixer, whose gradients come in f32 and go out in bf16.
TEST_F(Bf16Cuda, Norms) {
  for (int i = 0; i < 20; ++i) {
    const int64_t R = awkward(), D = awkward();
    Buffers in, out;
    in["x"] = f32({R, D});
    in["residual"] = bf16({R, D});
    in["weight"] = f32({D});
    out["sum"] = poisoned(Dtype::kF32, {R, D});
    out["y"] = poisoned(Dtype::kBF16, {R, D});
    out["inv_rms"] = poisoned(Dtype::kF32, {R});
    Buffers got;
    for (const auto& [name, buffer] : out) got[name] = copy_of(buffer.view());
    const auto forward = [](Context& ctx, const Views& from, const Views& to) {
      rms_norm_forward(ctx, {.x = from["x"],
                             .residual = from["residual"],
                             .sum = to["sum"],
                             .weight = from["weight"],
                             .y = to["y"],
                             .inv_rms = to["inv_rms"]});
    };
    Buffers want = as(Dtype::kF64, out);
    forward(*cuda, Views(in), Views(got));
    forward(reference, Views(as(Dtype::kF64, in)), Views(want));
    // Of one sign or not, s is a sum of two, and what it is divided by the root of a sum of squares.
    for (const auto& [name, buffer] : got) {
      const double scale = name == "sum" ? 8.0 : largest(want.at(name).view());
      EXPECT_LE(relative_difference(buffer.view(), want.at(name).view()) * largest(want.at(name).view()),
                bf16_tolerance(buffer.view().dtype, D) * std::max(scale, 1e-3))
          << name << ", seed " << random.seed();
    }

    Buffers given, gradients;
    given["sum"] = copy_of(got["sum"].view());
    given["inv_rms"] = copy_of(got["inv_rms"].view());
    given["weight"] = copy_of(in["weight"].view());
    given["dy"] = i % 2 == 0 ? bf16({R, D}) : f32({R, D});
    if (i % 2 == 0) given["dsum"] = f32({R, D});
    gradients["dx"] = poisoned(i % 2 == 0 ? Dtype::kF32 : Dtype::kBF16, {R, D});
    gradients["dweight"] = f32({D});
    const auto run = [](Context& ctx, const Buffers& from_buffers, Buffers to_buffers) {
      const Views from(from_buffers), to(to_buffers);
      rms_norm_backward(ctx, {.sum = from["sum"],
                              .weight = from["weight"],
                              .inv_rms = from["inv_rms"],
                              .dy = from["dy"],
                              .dsum = from["dsum"],
                              .dx = to["dx"],
                              .dweight = to["dweight"]});
      return to_buffers;
    };
    Buffers start;
    for (const auto& [name, buffer] : gradients) start[name] = copy_of(buffer.view());
    const Buffers dgot = run(*cuda, given, std::move(start));
    const Buffers dwant = run(reference, as(Dtype::kF64, given), as(Dtype::kF64, gradients));
    // dx is a difference: of at most |dnormed| (1 + D) inv_rms, as |ŝ| ≤ √D.
    const double most =
        largest(as(Dtype::kF64, given["dy"].view()).view()) *
            largest(as(Dtype::kF64, given["weight"].view()).view()) *
            largest(as(Dtype::kF64, given["inv_rms"].view()).view()) * (1 + static_cast<double>(D)) +
        (given.contains("dsum") ? largest(as(Dtype::kF64, given["dsum"].view()).view()) : 0.0);
    const double rounding =
        dgot.at("dx").view().dtype == Dtype::kBF16 ? largest(dwant.at("dx").view()) / 256 : 0.0;
    EXPECT_LE(
        relative_difference(dgot.at("dx").view(), dwant.at("dx").view()) * largest(dwant.at("dx").view()),
        f32_tolerance(D) * most + rounding)
        << "seed " << random.seed();
    Buffers positive = as(Dtype::kF64, given);
    for (auto& [name, buffer] : positive) buffer = absolute(buffer.view());
    Buffers none = as(Dtype::kF64, gradients);
    none["dweight"] = absolute(none["dweight"].view());
    const Buffers large = run(reference, positive, std::move(none));
    const Buffers just_weight_got = [&] {
      Buffers b;
      b["dweight"] = copy_of(dgot.at("dweight").view());
      return b;
    }();
    const Buffers just_weight = [&] {
      Buffers b;
      b["dweight"] = copy_of(dwant.at("dweight").view());
      return b;
    }();
    expect_close(
        just_weight_got, just_weight, large, [&](const std::string&) { return f32_tolerance(R + 1); },
        "seed " + std::to_string(random.seed()));
  }
}

TEST_F(Bf16Cuda, ElementwiseFunctionsRoundOnce) {
  for (const Activation f : {Activation::kSilu, Activation::kGelu, Activation::kRelu2}) {
    for (const bool gated : {false, true}) {
      const int64_t R = awkward(), I = awkward();
      Buffers in, out, gradients;
      in["x"] = bf16({R, I});
      in["dout"] = bf16({R, I});
      if (gated) in["up"] = bf16({R, I});
      out["out"] = poisoned(Dtype::kBF16, {R, I});
      expect_reference(in, out, 1, [&](Context& ctx, const Views& from, const Views& to) {
        activation_forward(ctx, {.f = f, .x = from["x"], .up = from["up"], .out = to["out"]});
      });
      gradients["dx"] = poisoned(Dtype::kBF16, {R, I});
      if (gated) gradients["dup"] = poisoned(Dtype::kBF16, {R, I});
      expect_reference(in, gradients, 1, [&](Context& ctx, const Views& from, const Views& to) {
        activation_backward(ctx, {.f = f,
                                  .x = from["x"],
                                  .up = from["up"],
                                  .dout = from["dout"],
                                  .dx = to["dx"],
                                  .dup = to["dup"]});
      });
    }
  }
  Buffers in, out;
  in["y"] = random.uniform(Dtype::kF32, {5, 67}, 0.01, 3.0);
  in["dy"] = f32({5, 67});
  out["dx"] = poisoned(Dtype::kBF16, {5, 67});
  expect_reference(in, out, 1, [](Context& ctx, const Views& from, const Views& to) {
    softplus_backward(ctx, {.y = from["y"], .dy = from["dy"], .dx = to["dx"]});
  });
}

TEST_F(Bf16Cuda, SumsAndCasts) {
  for (const Dtype from : {Dtype::kF32, Dtype::kBF16}) {
    Buffers in, out;
    in["x"] = from == Dtype::kF32 ? f32({7, 33}) : bf16({7, 33});
    out["y"] = bf16({7, 33});
    expect_reference(in, out, 1, [](Context& ctx, const Views& x, const Views& y) {
      accumulate(ctx, {.x = x["x"], .y = y["y"]});
    });
  }
  // To the nearest, ties to even; what is not a number stays that; and back without loss.
  const float given[] = {1.0f,    1.00390625f, 1.01171875f, 1.0039064f, -3e38f,
                         3.4e38f, 1e-40f,      0.0f / 1.0f, NAN};
  const float want[] = {1.0f, 1.0f, 1.015625f, 1.0078125f};
  Buffer f(Dtype::kF32, {9}), b(Dtype::kBF16, {9}), back(Dtype::kF32, {9});
  std::copy(given, given + 9, f.view().as<float>());
  cast(*cuda, {.from = f.view(), .to = b.view()});
  cast(*cuda, {.from = b.view(), .to = back.view()});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(back.view().as<float>()[i], want[i]) << given[i];
  EXPECT_NEAR(back.view().as<float>()[4], -3e38f, 3e38f / 256);
  EXPECT_TRUE(std::isinf(back.view().as<float>()[5]));
  EXPECT_TRUE(std::isnan(back.view().as<float>()[8]));
}

TEST_F(Bf16Cuda, RowsOfExperts) {
  constexpr int64_t T = 23, k = 2, D = 33, R = T * k - 3;
  Buffer row_of_slot(Dtype::kI64, {T, k}), slot_of_row(Dtype::kI64, {R});
  for (int64_t s = 0; s < T * k; ++s) {
    const int64_t row = s * 5 % (T * k);  // a permutation; the last three slots in its order are dropped
    row_of_slot.view().as<int64_t>()[s] = row < R ? row : -1;
    if (row < R) slot_of_row.view().as<int64_t>()[row] = s;
  }
  const View slots = row_of_slot.view(), rows = slot_of_row.view();
  Buffers in, out;
  in["x"] = bf16({T, D});
  in["rows"] = bf16({R, D});
  in["weight"] = f32({T, k});
  out["rows"] = poisoned(Dtype::kBF16, {R, D});
  expect_reference(in, out, 1, [&](Context& ctx, const Views& from, const Views& to) {
    gather_rows(ctx, {.x = from["x"], .slot_of_row = rows, .top_k = k, .rows = to["rows"]});
  });
  for (const bool weighted : {true, false}) {
    Buffers y;
    y["y"] = bf16({T, D});
    expect_reference(in, y, k + 1, [&](Context& ctx, const Views& from, const Views& to) {
      if (weighted) {
        combine_rows(ctx,
                     {.rows = from["rows"], .row_of_slot = slots, .weight = from["weight"], .y = to["y"]});
      } else {
        gather_rows_backward(
            ctx, {.drows = from["rows"], .row_of_slot = slots, .dx = to["y"], .accumulate = true});
      }
    });
  }
  Buffers gradients;
  in["dy"] = bf16({T, D});
  gradients["drows"] = poisoned(Dtype::kBF16, {R, D});
  gradients["dweight"] = poisoned(Dtype::kF32, {T, k});
  expect_reference(in, gradients, D, [&](Context& ctx, const Views& from, const Views& to) {
    combine_rows_backward(ctx, {.rows = from["rows"],
                                .row_of_slot = slots,
                                .slot_of_row = rows,
                                .weight = from["weight"],
                                .dy = from["dy"],
                                .drows = to["drows"],
                                .dweight = to["dweight"]});
  });
}

/// Logits and loss in f32, their gradient in bf16: the operand of two products.
TEST_F(Bf16Cuda, GradientOfTheLoss) {
  constexpr int64_t R = 9, V = 260;
  const Buffer logits = f32({R, V}), exact = as(Dtype::kF64, logits.view());
  Buffer targets(Dtype::kI64, {R}), loss(Dtype::kF64, {R}), want_loss(Dtype::kF64, {R});
  for (int64_t r = 0; r < R; ++r)
    targets.view().as<int64_t>()[r] = r == 4 ? kIgnoreTarget : random.integer(0, V - 1);
  Buffer dlogits = poisoned(Dtype::kBF16, {R, V}), want = poisoned(Dtype::kF64, {R, V});
  cross_entropy(*cuda, {.logits = logits.view(),
                        .targets = targets.view(),
                        .loss = loss.view(),
                        .dlogits = dlogits.view(),
                        .scale = 1e-6});  // far below what half precision could hold
  cross_entropy(reference, {.logits = exact.view(),
                            .targets = targets.view(),
                            .loss = want_loss.view(),
                            .dlogits = want.view(),
                            .scale = 1e-6});
  EXPECT_LE(relative_difference(loss.view(), want_loss.view()), f32_tolerance(V));
  for (int64_t i = 0; i < R * V; ++i) {  // each element to its own bits, however small
    const double x = static_cast<double>(dlogits.view().as<BFloat16>()[i]), y = want.view().as<double>()[i];
    EXPECT_LE(std::fabs(x - y), bf16_tolerance(Dtype::kBF16, V) * std::fabs(y)) << i;
  }
}

TEST(Bf16, AdamwLeavesARoundedCopy) {
  for (const Backend backend : backends()) {
    Random random;
    Context ctx(backend);
    Buffer w = random.normal(Dtype::kF32, {67}), g = random.normal(Dtype::kF32, {67}), m(Dtype::kF32, {67}),
           v(Dtype::kF32, {67}), rounded(Dtype::kBF16, {67});
    adamw(ctx,
          {.w = w.view(), .g = g.view(), .m = m.view(), .v = v.view(), .rounded = rounded.view(), .lr = 0.1});
    for (int64_t i = 0; i < 67; ++i) {
      EXPECT_EQ(rounded.view().as<BFloat16>()[i].bits, BFloat16(w.view().as<float>()[i]).bits)
          << name_of(backend);
    }
  }
}

}  // namespace
}  // namespace natrix::test
