// Element-wise functions, norm, embedding, loss and optimizer: the fast backends against the reference in
// double, on fresh operands of awkward shapes with strided rows.
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/activation.h"
#include "kernels/embedding.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/optim.h"
#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

class Elements : public OnEveryTarget {
 protected:
  Random random;
  Context ctx{backend()}, reference{Backend::kReference};

  std::string hint() const { return "seed " + std::to_string(random.seed()); }
  int64_t pick() { return awkward_sizes()[static_cast<size_t>(random.integer(0, 11))]; }
  Shape shape() { return {random.integer(1, 3), pick(), pick()}; }
  /// Both sides have room for one rounding an operation.
  void expect(const std::string& what, View got, View want, int64_t terms) const {
    EXPECT_LE(relative_difference(got, want), f32_tolerance(terms))
        << what << " " << want.to_string() << ", " << hint();
  }
};
INSTANTIATE_TEST_SUITE_P(Targets, Elements, ::testing::ValuesIn(every_target()), target_name);

Buffer wide(View v) {
  return as(Dtype::kF64, v);
}

TEST_P(Elements, Activation) {
  for (const Activation f : {Activation::kSilu, Activation::kGelu, Activation::kRelu2}) {
    for (const bool gated : {false, true}) {
      const Shape s = shape();
      const Buffer x = random.normal(Dtype::kF32, s, 3), up = random.normal(Dtype::kF32, s),
                   dout = random.normal(Dtype::kF32, s);
      const Buffer x64 = wide(x.view()), up64 = wide(up.view()), dout64 = wide(dout.view());
      const StridedCopy xs(x.view()), out(poisoned(Dtype::kF32, s).view());
      Buffer want = poisoned(Dtype::kF64, s);
      activation_forward(ctx, {.f = f, .x = xs.view(), .up = gated ? up.view() : View{}, .out = out.view()});
      activation_forward(reference,
                         {.f = f, .x = x64.view(), .up = gated ? up64.view() : View{}, .out = want.view()});
      expect("activation", out.view(), want.view(), 4);
      EXPECT_TRUE(out.padding_untouched());

      Buffer dx = poisoned(Dtype::kF32, s), dup = poisoned(Dtype::kF32, s), dx64 = poisoned(Dtype::kF64, s),
             dup64 = poisoned(Dtype::kF64, s);
      activation_backward(ctx, {.f = f,
                                .x = xs.view(),
                                .up = gated ? up.view() : View{},
                                .dout = dout.view(),
                                .dx = dx.view(),
                                .dup = gated ? dup.view() : View{}});
      activation_backward(reference, {.f = f,
                                      .x = x64.view(),
                                      .up = gated ? up64.view() : View{},
                                      .dout = dout64.view(),
                                      .dx = dx64.view(),
                                      .dup = gated ? dup64.view() : View{}});
      expect("dx", dx.view(), dx64.view(), 4);
      if (gated) expect("dup", dup.view(), dup64.view(), 4);
    }
  }
}

TEST_P(Elements, SoftplusAndAccumulate) {
  const Shape s = shape();
  const Buffer x = random.normal(Dtype::kF32, s, 12), bias = random.normal(Dtype::kF32, {s[2]}),
               dy = random.normal(Dtype::kF32, s);
  const Buffer x64 = wide(x.view()), bias64 = wide(bias.view()), dy64 = wide(dy.view());
  Buffer y = poisoned(Dtype::kF32, s), y64 = poisoned(Dtype::kF64, s), dx = poisoned(Dtype::kF32, s),
         dx64 = poisoned(Dtype::kF64, s);
  softplus_forward(ctx, {.x = x.view(), .bias = bias.view(), .y = y.view()});
  softplus_forward(reference, {.x = x64.view(), .bias = bias64.view(), .y = y64.view()});
  expect("softplus", y.view(), y64.view(), 4);
  softplus_backward(ctx, {.y = y.view(), .dy = dy.view(), .dx = dx.view()});
  softplus_backward(reference, {.y = y64.view(), .dy = dy64.view(), .dx = dx64.view()});
  expect("softplus dx", dx.view(), dx64.view(), 4);
  accumulate(ctx, {.x = x.view(), .y = y.view()});
  accumulate(reference, {.x = x64.view(), .y = y64.view()});
  expect("accumulate", y.view(), y64.view(), 4);
}

TEST_P(Elements, RmsNorm) {
  for (const bool joined : {false, true}) {
    const Shape s = shape();
    const int64_t rows = s[0] * s[1];
    const Buffer x = random.normal(Dtype::kF32, s), residual = random.normal(Dtype::kF32, s),
                 weight = random.normal(Dtype::kF32, {s[2]});
    const Buffer dy = random.normal(Dtype::kF32, s), dsum = random.normal(Dtype::kF32, s),
                 before = random.normal(Dtype::kF32, {s[2]});
    const auto run = [&](Context& on, Dtype dtype) {
      Buffers out;
      for (const char* name : {"sum", "y", "dx"}) out[name] = poisoned(dtype, s);
      out["inv_rms"] = poisoned(dtype, {s[0], s[1]});
      out["dweight"] = as(dtype, before.view());
      const Buffer xs = as(dtype, x.view()), rs = as(dtype, residual.view()), w = as(dtype, weight.view()),
                   dys = as(dtype, dy.view()), dsums = as(dtype, dsum.view());
      rms_norm_forward(on, {.x = xs.view(),
                            .residual = joined ? rs.view() : View{},
                            .sum = out["sum"].view(),
                            .weight = w.view(),
                            .y = out["y"].view(),
                            .inv_rms = out["inv_rms"].view(),
                            .eps = 1e-5});
      rms_norm_backward(on, {.sum = out["sum"].view(),
                             .weight = w.view(),
                             .inv_rms = out["inv_rms"].view(),
                             .dy = dys.view(),
                             .dsum = joined ? dsums.view() : View{},
                             .dx = out["dx"].view(),
                             .dweight = out["dweight"].view()});
      return out;
    };
    const Buffers got = run(ctx, Dtype::kF32), want = run(reference, Dtype::kF64);
    for (const auto& [name, buffer] : want) {
      // With few columns ŝ is nearly ±1 and what remains of dx is a small difference of large terms.
      const double scale =
          name == "dx" ? largest(want.at("inv_rms").view()) * largest(dy.view()) * largest(weight.view()) +
                             largest(dsum.view())
                       : largest(buffer.view());
      const double error = relative_difference(got.at(name).view(), buffer.view()) * largest(buffer.view());
      EXPECT_LE(error, scale * f32_tolerance(name == "dweight" ? rows : s[2]))
          << name << " " << s.to_string() << ", " << hint();
    }
  }
}

TEST_P(Elements, Embedding) {
  const int64_t rows = 70, vocabulary = 9, width = pick();
  Buffer tokens(Dtype::kI64, {rows});
  for (int64_t r = 0; r < rows; ++r)
    tokens.view().as<int64_t>()[r] = random.integer(0, vocabulary - 2);  // one is not there
  const Buffer weight = random.normal(Dtype::kF32, {vocabulary, width}),
               dy = random.normal(Dtype::kF32, {rows, width});
  Buffer y = poisoned(Dtype::kF32, {rows, width}), dweight = copy_of(weight.view()),
         want = copy_of(weight.view());
  embedding_forward(ctx, {.tokens = tokens.view(), .weight = weight.view(), .y = y.view()});
  for (int64_t r = 0; r < rows; ++r) {
    EXPECT_TRUE(
        same_bits(y.view().row_range(r, 1), weight.view().row_range(tokens.view().as<int64_t>()[r], 1)));
  }
  embedding_backward(ctx, {.tokens = tokens.view(), .dy = dy.view(), .dweight = dweight.view()});
  embedding_backward(reference, {.tokens = tokens.view(), .dy = dy.view(), .dweight = want.view()});
  EXPECT_TRUE(same_bits(dweight.view(), want.view())) << hint();  // the same additions in the same order
}

TEST_P(Elements, CrossEntropy) {
  for (const int64_t vocabulary : {int64_t{1}, pick(), int64_t{700}}) {
    const int64_t rows = 13;
    const Buffer logits = random.normal(Dtype::kF32, {rows, vocabulary}, 5), logits64 = wide(logits.view());
    Buffer targets(Dtype::kI64, {rows});
    for (int64_t r = 0; r < rows; ++r) targets.view().as<int64_t>()[r] = random.integer(-1, vocabulary - 1);
    Buffer loss = poisoned(Dtype::kF64, {rows}), want = poisoned(Dtype::kF64, {rows});
    Buffer dlogits = copy_of(logits.view()), dwant = poisoned(Dtype::kF64, {rows, vocabulary});
    cross_entropy(ctx, {.logits = dlogits.view(),
                        .targets = targets.view(),
                        .loss = loss.view(),
                        .dlogits = dlogits.view(),
                        .scale = 0.5});  // in place
    cross_entropy(reference, {.logits = logits64.view(),
                              .targets = targets.view(),
                              .loss = want.view(),
                              .dlogits = dwant.view(),
                              .scale = 0.5});
    for (int64_t r = 0; r < rows; ++r) {
      EXPECT_NEAR(loss.view().as<double>()[r], want.view().as<double>()[r],
                  (1 + largest(logits.view())) * f32_tolerance(vocabulary))
          << hint();
    }
    expect("dlogits", dlogits.view(), dwant.view(), vocabulary);
  }
}

TEST_P(Elements, AdamWAndTheNorm) {
  for (const int64_t count : {int64_t{1}, int64_t{67}, int64_t{5000}}) {
    const auto run = [&](Context& on, const Buffers& from, Dtype dtype) {
      Buffers to;
      for (const auto& [name, buffer] : from) to[name] = as(dtype, buffer.view());
      adamw(on, {.w = to["w"].view(),
                 .g = to["g"].view(),
                 .m = to["m"].view(),
                 .v = to["v"].view(),
                 .lr = 1e-2,
                 .weight_decay = 0.1,
                 .grad_scale = 0.7,
                 .step = 3});
      return to;
    };
    Buffers state;
    for (const char* name : {"w", "g", "m"}) state[name] = random.normal(Dtype::kF32, {count});
    state["v"] = random.uniform(Dtype::kF32, {count}, 0.01, 2);
    const Buffers got = run(ctx, state, Dtype::kF32), want = run(reference, state, Dtype::kF64);
    for (const auto& [name, buffer] : want) expect(name, got.at(name).view(), buffer.view(), 4);
    double sum = 0;
    squared_norm(ctx, {.x = state["g"].view(), .sum = &sum});
    EXPECT_NEAR(sum, dot(state["g"].view(), state["g"].view()), 1e-6 * sum);
  }
}

}  // namespace
}  // namespace natrix::test
