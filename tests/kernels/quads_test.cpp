// Kernels of backend cuda take four columns a load where operands lie so, and one at a time where they do not
// (kernels/cuda/quads.h). Each is given the same operands in several places: side by side; with rows that are
// apart, but still whole quads; with rows that begin at the fourth column of others, which no quad does; and
// with rows of which only the first begins where a quad does.
// The results must be the same bits; the tests of each family compare them with the reference.
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/activation.h"
#include "kernels/embedding.h"
#include "kernels/loss.h"
#include "kernels/matmul.h"
#include "kernels/norm.h"
#include "kernels/optim.h"
#include "kernels/routing.h"
#include "tests/kernels/conv_case.h"
#include "tests/kernels/scan_case.h"

namespace natrix::test {
namespace {

/// Copies whose rows begin `before` elements into wider ones, whole quads and `odd` elements apart; single
/// rows, which kernels want dense, likewise.
class Displaced {
 public:
  Displaced(const Views& from, int64_t before, int64_t odd) {
    for (const auto& [name, v] : from) {
      if (!v) continue;
      const int64_t width = (before + v.cols() + 7) / 4 * 4 + odd;
      wide_.push_back(Buffer(v.dtype, v.shape.with_last(width)));
      const View there = wide_.back().view().columns(before, v.cols());
      copy(v, there);
      views_.put(name, there);
    }
  }
  const Views& views() const { return views_; }

 private:
  std::vector<Buffer> wide_;
  Views views_;
};

class Quads : public ::testing::Test {
 protected:
  using Kernel = std::function<void(Context&, const Views& in, const Views& out)>;

  void SetUp() override {
    if (!has_cuda()) GTEST_SKIP() << "no device";
    cuda = std::make_unique<Context>(Backend::kCuda);
  }

  /// `out` are what results begin as.
  void expect_equal_bits(const Kernel& kernel, const Buffers& in, const Buffers& out,
                         const std::string& hint) {
    Buffers dense;
    for (const auto& [name, buffer] : out) dense[name] = copy_of(buffer.view());
    kernel(*cuda, Views(in), Views(dense));
    for (const auto& [before, odd] : {std::pair{0, 0}, {4, 0}, {3, 0}, {4, 1}}) {
      const Displaced from(Views(in), before, odd), to(Views(out), before, odd);
      kernel(*cuda, from.views(), to.views());
      expect_same_bits(to.views(), Views(dense),
                       hint + ", " + std::to_string(before) + " columns in, " + std::to_string(odd) +
                           " apart, seed " + std::to_string(random.seed()));
    }
  }

  Buffer normal(Dtype dtype, const Shape& shape) {
    return as(dtype, random.normal(Dtype::kF32, shape).view());
  }

  Random random;
  std::unique_ptr<Context> cuda;
};

constexpr int64_t kWidths[] = {1, 2, 3, 4, 7, 8, 31, 64, 131, 132, 260};
constexpr Dtype kStored[] = {Dtype::kF32, Dtype::kBF16};

std::string hint_of(const char* kernel, Dtype dtype, int64_t cols) {
  return std::string(kernel) + " " + name_of(dtype) + ", " + std::to_string(cols) + " columns";
}

TEST_F(Quads, ElementByElement) {
  for (const Dtype dtype : kStored) {
    for (const int64_t cols : kWidths) {
      const Shape shape{5, cols};
      const auto some = [&] { return normal(dtype, shape); };
      const auto none = [&](Dtype of) { return poisoned(of, shape); };
      Buffers in, out;
      for (const char* name : {"x", "up", "dout"}) in[name] = some();
      for (const char* name : {"out", "dx", "dup"}) out[name] = none(dtype);
      expect_equal_bits(
          [](Context& ctx, const Views& from, const Views& to) {
            activation_forward(ctx, {.x = from["x"], .up = from["up"], .out = to["out"]});
            activation_backward(
                ctx,
                {.x = from["x"], .up = from["up"], .dout = from["dout"], .dx = to["dx"], .dup = to["dup"]});
          },
          in, out, hint_of("activation", dtype, cols));

      Buffers of_softplus;
      of_softplus["y"] = none(Dtype::kF32);
      of_softplus["dx"] = none(dtype);
      of_softplus["wide"] = normal(Dtype::kF32, shape);
      Buffers wide;
      wide["x"] = normal(Dtype::kF32, shape), wide["dy"] = normal(Dtype::kF32, shape);
      expect_equal_bits(
          [dtype](Context& ctx, const Views& from, const Views& to) {
            softplus_forward(ctx, {.x = from["x"], .y = to["y"]});
            softplus_backward(ctx, {.y = to["y"], .dy = from["dy"], .dx = to["dx"]});
            if (dtype == Dtype::kBF16) cast(ctx, {.from = to["dx"], .to = to["wide"]});
            accumulate(ctx, {.x = from["x"], .y = to["dx"]});
          },
          wide, of_softplus, hint_of("softplus, cast, accumulate", dtype, cols));
    }
  }
}

TEST_F(Quads, Norm) {
  for (const Dtype dtype : kStored) {
    for (const int64_t cols : kWidths) {
      const Shape shape{70, cols};
      Buffers in, out;
      in["x"] = normal(Dtype::kF32, shape), in["dsum"] = normal(Dtype::kF32, shape);
      in["residual"] = normal(dtype, shape), in["dy"] = normal(dtype, shape);
      out["sum"] = poisoned(Dtype::kF32, shape), out["dsum"] = poisoned(Dtype::kF32, shape);
      out["y"] = poisoned(dtype, shape);
      const Buffer weight = normal(Dtype::kF32, {cols});
      Buffer inv_rms = poisoned(Dtype::kF32, {70});
      out["dweight"] = filled(Dtype::kF32, {1, cols}, 1.0);
      expect_equal_bits(
          [&](Context& ctx, const Views& from, const Views& to) {
            rms_norm_forward(ctx, {.x = from["x"],
                                   .residual = from["residual"],
                                   .sum = to["sum"],
                                   .weight = weight.view(),
                                   .y = to["y"],
                                   .inv_rms = inv_rms.view()});
            const View dweight(to["dweight"].data, Dtype::kF32, {cols});
            rms_norm_backward(ctx, {.sum = to["sum"],
                                    .weight = weight.view(),
                                    .inv_rms = inv_rms.view(),
                                    .dy = from["dy"],
                                    .dsum = from["dsum"],
                                    .dx = to["dsum"],
                                    .dweight = dweight});
          },
          in, out, hint_of("norm", dtype, cols));
    }
  }
}

TEST_F(Quads, RowsByNumber) {
  const Buffer tokens(Dtype::kI64, {40}), row_of_slot(Dtype::kI64, {20, 2}), slot_of_row(Dtype::kI64, {40});
  const Buffer weight = normal(Dtype::kF32, {20, 2});
  Buffer dweight(Dtype::kF32, {20, 2});
  for (int64_t i = 0; i < 40; ++i) {
    tokens.view().as<int64_t>()[i] = random.integer(0, 8);
    const int64_t row = i * 7 % 40;
    row_of_slot.view().as<int64_t>()[i] = row;
    slot_of_row.view().as<int64_t>()[row] = i;
  }
  for (const Dtype dtype : kStored) {
    for (const int64_t cols : kWidths) {
      Buffers in, out;
      in["table"] = normal(Dtype::kF32, {9, cols}), in["x"] = normal(dtype, {20, cols});
      out["y"] = poisoned(Dtype::kF32, {40, cols}), out["dtable"] = normal(Dtype::kF32, {9, cols});
      out["rows"] = poisoned(dtype, {40, cols}), out["sum"] = poisoned(dtype, {20, cols});
      out["drows"] = poisoned(dtype, {40, cols}), out["dx"] = normal(dtype, {20, cols});
      expect_equal_bits(
          [&](Context& ctx, const Views& from, const Views& to) {
            embedding_forward(ctx, {.tokens = tokens.view(), .weight = from["table"], .y = to["y"]});
            embedding_backward(ctx, {.tokens = tokens.view(), .dy = to["y"], .dweight = to["dtable"]});
            gather_rows(ctx,
                        {.x = from["x"], .slot_of_row = slot_of_row.view(), .top_k = 2, .rows = to["rows"]});
            combine_rows(ctx, {.rows = to["rows"],
                               .row_of_slot = row_of_slot.view(),
                               .weight = weight.view(),
                               .y = to["sum"]});
            combine_rows_backward(ctx, {.rows = to["rows"],
                                        .row_of_slot = row_of_slot.view(),
                                        .slot_of_row = slot_of_row.view(),
                                        .weight = weight.view(),
                                        .dy = from["x"],
                                        .drows = to["drows"],
                                        .dweight = dweight.view()});
            gather_rows_backward(ctx, {.drows = to["drows"],
                                       .row_of_slot = row_of_slot.view(),
                                       .dx = to["dx"],
                                       .accumulate = true});
          },
          in, out, hint_of("embedding, experts' rows", dtype, cols));
    }
  }
}

TEST_F(Quads, LossAndColumnSums) {
  for (const Dtype dtype : kStored) {
    for (const int64_t cols : kWidths) {
      const Buffer targets(Dtype::kI64, {6});
      for (int64_t r = 0; r < 6; ++r) targets.view().as<int64_t>()[r] = random.integer(-1, cols - 1);
      Buffer loss(Dtype::kF64, {6});
      Buffers in, out;
      in["logits"] = normal(Dtype::kF32, {6, cols});
      // All below zero, which is what is past the end of a row where nobody thinks of it.
      for (int64_t i = 0; i < 6 * cols; ++i) in["logits"].view().as<float>()[i] -= 1e3f;
      out["dlogits"] = poisoned(dtype, {6, cols}), out["sum"] = normal(Dtype::kF32, {1, cols});
      expect_equal_bits(
          [&](Context& ctx, const Views& from, const Views& to) {
            cross_entropy(ctx, {.logits = from["logits"],
                                .targets = targets.view(),
                                .loss = loss.view(),
                                .dlogits = to["dlogits"]});
            column_sum(ctx, {.a = to["dlogits"], .sum = View(to["sum"].data, Dtype::kF32, {cols})});
          },
          in, out, hint_of("loss, column_sum", dtype, cols));
      EXPECT_TRUE(std::isfinite(loss.view().as<double>()[0])) << cols;
    }
  }
}

TEST_F(Quads, AdamW) {
  for (const int64_t count : {1, 4, 7, 64, 1027, 4096}) {
    Buffers in, out;
    in["g"] = normal(Dtype::kF32, {1, count});
    out["w"] = normal(Dtype::kF32, {1, count}), out["m"] = filled(Dtype::kF32, {1, count}, 0.0);
    out["v"] = filled(Dtype::kF32, {1, count}, 0.0), out["rounded"] = poisoned(Dtype::kBF16, {1, count});
    expect_equal_bits(
        [&](Context& ctx, const Views& from, const Views& to) {
          const auto flat = [&](View v) { return View(v.data, v.dtype, {count}); };
          adamw(ctx, {.w = flat(to["w"]),
                      .g = flat(from["g"]),
                      .m = flat(to["m"]),
                      .v = flat(to["v"]),
                      .rounded = flat(to["rounded"]),
                      .lr = 0.1});
        },
        in, out, hint_of("adamw", Dtype::kF32, count));
  }
}

TEST_F(Quads, Convolution) {
  for (const Dtype dtype : kStored) {
    for (const int64_t channels : kWidths) {
      const ConvSizes size{2, random.integer(1, 70), channels, random.integer(1, 8)};
      ConvCase c = ConvCase::fresh(random, Dtype::kF32, size);
      if (dtype == Dtype::kBF16) c = c.narrowed();
      const auto split = [&](const Views& from) {  // weight and bias are dense by contract
        Views all = from;
        all.put("weight", c["weight"]);
        all.put("bias", c["bias"]);
        return all;
      };
      expect_equal_bits(
          [&](Context& ctx, const Views& from, const Views& to) {
            conv_silu_forward(ctx, conv_forward_args(split(from), c.doc_start.view(), to));
          },
          c.in, c.outputs(), c.size.to_string());
      Buffer dweight = copy_of(c["weight"]), dbias = copy_of(c["bias"]);
      Buffers gradients = c.gradients();
      gradients.erase("weight"), gradients.erase("bias");
      expect_equal_bits(
          [&](Context& ctx, const Views& from, const Views& to) {
            Views all = to;
            all.put("weight", dweight.view());
            all.put("bias", dbias.view());
            conv_silu_backward(ctx, conv_backward_args(split(from), c.doc_start.view(), all));
          },
          c.in, gradients, c.size.to_string());
    }
  }
}

TEST_F(Quads, Scan) {
  for (const Dtype dtype : kStored) {
    for (const int64_t states : {1, 4, 5, 8, 16, 18, 40}) {
      ScanCase c = ScanCase::fresh(random, Dtype::kF32, {2, random.integer(1, 70), 6, states});
      if (dtype == Dtype::kBF16) c = c.narrowed();
      const auto vary = [&](const Views& from) {  // what lies by token, and may have rows apart
        Views all(c.in);
        for (const char* name : {"x", "dt", "B", "C", "dy"}) all.put(name, from[name]);
        return all;
      };
      Buffers out = c.outputs(), gradients = c.gradients(), state, rest;
      const auto move = [](Buffers& from, Buffers& to, std::initializer_list<const char*> names) {
        for (const char* name : names) {
          if (from.contains(name)) to[name] = std::move(from[name]);
          from.erase(name);
        }
      };
      const auto with = [](const Views& to, const Buffers& dense) {
        Views all = to;
        for (const auto& [name, buffer] : dense) all.put(name, buffer.view());
        return all;
      };
      move(out, state, {"state_out"});
      move(gradients, rest, {"A_log", "D", "state_in"});
      expect_equal_bits(
          [&](Context& ctx, const Views& from, const Views& to) {
            scan_forward(ctx, scan_forward_args(vary(from), c.doc_start.view(), with(to, state)));
          },
          c.in, out, c.size.to_string());
      expect_equal_bits(
          [&](Context& ctx, const Views& from, const Views& to) {
            scan_backward_alone(ctx, scan_backward_args(vary(from), c.doc_start.view(), with(to, rest)));
          },
          c.in, gradients, c.size.to_string());
    }
  }
}

/// More columns than a grid has blocks along y.
TEST_F(Quads, AVectorMayBeLong) {
  constexpr int64_t kCount = int64_t{65536} * 256 * 4 + 5;
  const Buffer from = filled(Dtype::kBF16, {kCount}, 2.0), to(Dtype::kBF16, {kCount});
  cast(*cuda, {.from = from.view(), .to = to.view()});
  EXPECT_TRUE(same_bits(from.view(), to.view()));
}

}  // namespace
}  // namespace natrix::test
