// RMS normalisation: the reference against its formula and finite differences, the CPU's against the
// reference on every instruction set of this machine, and against itself under aliasing, strides and threads.
#include "kernels/norm.h"

#include <cmath>
#include <gtest/gtest.h>

#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

/// x, residual, weight, dy and dsum.
struct NormCase {
  int64_t rows, cols;
  Buffers in;

  static NormCase fresh(Random& random, Dtype dtype, int64_t rows, int64_t cols) {
    NormCase c{rows, cols, {}};
    for (const char* name : {"x", "residual", "dy", "dsum"}) c.in[name] = random.normal(dtype, {rows, cols});
    c.in["weight"] = random.normal(dtype, {cols});
    return c;
  }
  NormCase as(Dtype dtype) const { return {rows, cols, test::as(dtype, in)}; }
  View operator[](const std::string& name) const { return in.at(name).view(); }
  Dtype dtype() const { return (*this)["x"].dtype; }
  Shape shape() const { return {rows, cols}; }
};

Buffers run_forward(Context& ctx, const NormCase& c) {
  Buffers out;
  out["sum"] = poisoned(c.dtype(), c.shape());
  out["y"] = poisoned(c.dtype(), c.shape());
  out["inv_rms"] = poisoned(c.dtype(), {c.rows});
  rms_norm_forward(ctx, {.x = c["x"],
                         .residual = c["residual"],
                         .sum = out["sum"].view(),
                         .weight = c["weight"],
                         .y = out["y"].view(),
                         .inv_rms = out["inv_rms"].view()});
  return out;
}

/// Takes the sum and inv_rms of a forward pass; dweight starts at `before`.
Buffers run_backward(Context& ctx, const NormCase& c, const Buffers& forward, double before = 0) {
  Buffers out;
  out["dx"] = poisoned(c.dtype(), c.shape());
  out["dweight"] = filled(c.dtype(), {c.cols}, before);
  rms_norm_backward(ctx, {.sum = forward.at("sum").view(),
                          .weight = c["weight"],
                          .inv_rms = forward.at("inv_rms").view(),
                          .dy = c["dy"],
                          .dsum = c["dsum"],
                          .dx = out["dx"].view(),
                          .dweight = out["dweight"].view()});
  return out;
}

std::string hint(const NormCase& c, const Random& random) {
  return c.shape().to_string() + ", seed " + std::to_string(random.seed());
}

TEST(NormReference, ByHand) {
  Context ctx(Backend::kReference);
  double x[] = {3, 4}, residual[] = {0, 4}, weight[] = {2, -1}, sum[2], y[2], inv_rms[1];  // s = (3, 8)
  rms_norm_forward(ctx, {.x = View(x, Dtype::kF64, {1, 2}),
                         .residual = View(residual, Dtype::kF64, {1, 2}),
                         .sum = View(sum, Dtype::kF64, {1, 2}),
                         .weight = View(weight, Dtype::kF64, {2}),
                         .y = View(y, Dtype::kF64, {1, 2}),
                         .inv_rms = View(inv_rms, Dtype::kF64, {1}),
                         .eps = 0.5});
  const double rms = std::sqrt((9.0 + 64.0) / 2 + 0.5);
  EXPECT_EQ(sum[1], 8);
  EXPECT_DOUBLE_EQ(inv_rms[0], 1 / rms);
  EXPECT_DOUBLE_EQ(y[0], 2 * 3 / rms);
  EXPECT_DOUBLE_EQ(y[1], -8 / rms);
}

TEST(NormReference, GradientsAreFiniteDifferences) {
  Random random;
  Context ctx(Backend::kReference);
  for (const int64_t cols : {1, 2, 7}) {
    NormCase c = NormCase::fresh(random, Dtype::kF64, 3, cols);
    c.in["x"] = random.uniform(Dtype::kF64, {3, cols}, 1.0, 3.0);  // near a row of zeros no step is small
    c.in["residual"] = random.uniform(Dtype::kF64, {3, cols}, -0.5, 0.5);
    const auto loss = [&] {
      const Buffers out = run_forward(ctx, c);
      return dot(out.at("y").view(), c["dy"]) + dot(out.at("sum").view(), c["dsum"]);
    };
    const Buffers gradient = run_backward(ctx, c, run_forward(ctx, c));
    EXPECT_LE(finite_difference_error(c["x"], gradient.at("dx").view(), loss), 1e-6) << hint(c, random);
    EXPECT_LE(finite_difference_error(c["residual"], gradient.at("dx").view(), loss), 1e-6)
        << hint(c, random);
    EXPECT_LE(finite_difference_error(c["weight"], gradient.at("dweight").view(), loss), 1e-6)
        << hint(c, random);
  }
}

using NormTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, NormTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(NormTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  for (const int64_t cols : {1, 2, 7, 16, 33, 67, 768, 1543}) {
    for (const int64_t rows : {0, 1, 3, 130}) {
      const NormCase c = NormCase::fresh(random, Dtype::kF32, rows, cols);
      const Buffers forward = run_forward(ctx, c), backward = run_backward(ctx, c, forward);
      const Buffers want = run_forward(reference, c.as(Dtype::kF64));
      const Buffers dwant = run_backward(reference, c.as(Dtype::kF64), as(Dtype::kF64, forward));
      for (const auto& [name, buffer] : forward) {
        EXPECT_LE(relative_difference(buffer.view(), want.at(name).view()), f32_tolerance(cols))
            << name << ", " << hint(c, random);
      }
      // What is subtracted in dx may cancel, and so may the sum over rows in dweight: their scales are those
      // of the terms.
      const double dnormed = largest(c["dy"]) * largest(c["weight"]);
      const double dx_scale = largest(c["dsum"]) + 2 * largest(forward.at("inv_rms").view()) * dnormed;
      const double dweight_scale = largest(dwant.at("dweight").view()) + std::sqrt(static_cast<double>(rows));
      for (int64_t i = 0; i < rows * cols; ++i) {
        EXPECT_NEAR(backward.at("dx").view().as<float>()[i], dwant.at("dx").view().as<double>()[i],
                    f32_tolerance(1) * dx_scale)
            << i << ", " << hint(c, random);
      }
      for (int64_t i = 0; i < cols; ++i) {
        EXPECT_NEAR(backward.at("dweight").view().as<float>()[i], dwant.at("dweight").view().as<double>()[i],
                    f32_tolerance(rows) * dweight_scale)
            << i << ", " << hint(c, random);
      }
    }
  }
}

class Norm : public ::testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, Norm, ::testing::ValuesIn(backends()),
                         [](const auto& backend) { return name_of(backend.param); });

TEST_P(Norm, OutputsMayBeInputs) {
  Random random;
  Context ctx(GetParam());
  const NormCase c = NormCase::fresh(random, Dtype::kF32, 5, 37);
  const Buffers want = run_forward(ctx, c);
  for (const char* into : {"x", "residual"}) {  // sum over one of its terms
    Buffer x = copy_of(c["x"]), residual = copy_of(c["residual"]), y = poisoned(Dtype::kF32, c.shape());
    const View sum = std::string(into) == "x" ? x.view() : residual.view();
    rms_norm_forward(
        ctx, {.x = x.view(), .residual = residual.view(), .sum = sum, .weight = c["weight"], .y = y.view()});
    EXPECT_TRUE(same_bits(sum, want.at("sum").view())) << into;
    EXPECT_TRUE(same_bits(y.view(), want.at("y").view())) << into;
  }
  Buffer apart = poisoned(Dtype::kF32, c.shape()), x = copy_of(c["x"]);
  rms_norm_forward(ctx, {.x = x.view(), .weight = c["weight"], .y = apart.view()});
  rms_norm_forward(ctx, {.x = x.view(), .weight = c["weight"], .y = x.view()});
  EXPECT_TRUE(same_bits(x.view(), apart.view()));

  const Buffers dwant = run_backward(ctx, c, want);
  for (const char* into : {"dsum", "dy"}) {
    Buffer dsum = copy_of(c["dsum"]), dy = copy_of(c["dy"]), dweight(Dtype::kF32, {c.cols});
    const View dx = std::string(into) == "dy" ? dy.view() : dsum.view();
    rms_norm_backward(ctx, {.sum = want.at("sum").view(),
                            .weight = c["weight"],
                            .inv_rms = want.at("inv_rms").view(),
                            .dy = dy.view(),
                            .dsum = dsum.view(),
                            .dx = dx,
                            .dweight = dweight.view()});
    EXPECT_TRUE(same_bits(dx, dwant.at("dx").view())) << into;
    EXPECT_TRUE(same_bits(dweight.view(), dwant.at("dweight").view())) << into;
  }
}

TEST_P(Norm, SumWithoutResidualIsACopy) {
  Random random;
  Context ctx(GetParam());
  const NormCase c = NormCase::fresh(random, Dtype::kF32, 4, 19);
  Buffer sum = poisoned(Dtype::kF32, c.shape()), y = poisoned(Dtype::kF32, c.shape());
  rms_norm_forward(ctx, {.x = c["x"], .sum = sum.view(), .y = y.view()});
  EXPECT_TRUE(same_bits(sum.view(), c["x"]));
}

TEST_P(Norm, NoWeightIsAWeightOfOnes) {
  Random random;
  Context ctx(GetParam());
  NormCase c = NormCase::fresh(random, Dtype::kF32, 6, 21);
  c.in["weight"] = filled(Dtype::kF32, {c.cols}, 1.0);
  const Buffers want = run_forward(ctx, c), dwant = run_backward(ctx, c, want);
  Buffer sum = poisoned(Dtype::kF32, c.shape()), y = poisoned(Dtype::kF32, c.shape()),
         dx = poisoned(Dtype::kF32, c.shape());
  rms_norm_forward(ctx, {.x = c["x"], .residual = c["residual"], .sum = sum.view(), .y = y.view()});
  rms_norm_backward(ctx, {.sum = sum.view(),
                          .inv_rms = want.at("inv_rms").view(),
                          .dy = c["dy"],
                          .dsum = c["dsum"],
                          .dx = dx.view()});
  EXPECT_TRUE(same_bits(y.view(), want.at("y").view()));
  EXPECT_TRUE(same_bits(dx.view(), dwant.at("dx").view()));
}

TEST_P(Norm, RowsMayBeStrided) {
  Random random;
  Context ctx(GetParam());
  const NormCase c = NormCase::fresh(random, Dtype::kF32, 9, 35);
  const Buffers want = run_forward(ctx, c), dwant = run_backward(ctx, c, want);
  const StridedCopy x(c["x"]), residual(c["residual"]), dy(c["dy"]), dsum(c["dsum"]);
  const StridedCopy sum(c["x"]), y(c["x"]), dx(c["x"]);
  Buffer inv_rms = poisoned(Dtype::kF32, {c.rows}), dweight(Dtype::kF32, {c.cols});
  rms_norm_forward(ctx, {.x = x.view(),
                         .residual = residual.view(),
                         .sum = sum.view(),
                         .weight = c["weight"],
                         .y = y.view(),
                         .inv_rms = inv_rms.view()});
  rms_norm_backward(ctx, {.sum = sum.view(),
                          .weight = c["weight"],
                          .inv_rms = inv_rms.view(),
                          .dy = dy.view(),
                          .dsum = dsum.view(),
                          .dx = dx.view(),
                          .dweight = dweight.view()});
  EXPECT_TRUE(same_bits(sum.view(), want.at("sum").view()));
  EXPECT_TRUE(same_bits(y.view(), want.at("y").view()));
  EXPECT_TRUE(same_bits(dx.view(), dwant.at("dx").view()));
  EXPECT_TRUE(same_bits(dweight.view(), dwant.at("dweight").view()));
  EXPECT_TRUE(sum.padding_untouched() && y.padding_untouched() && dx.padding_untouched());
}

TEST_P(Norm, TheWeightsGradientIsAddedTo) {
  Random random;
  Context ctx(GetParam());
  const NormCase c = NormCase::fresh(random, Dtype::kF32, 7, 11);
  const Buffers forward = run_forward(ctx, c);
  const Buffers zero = run_backward(ctx, c, forward), hundred = run_backward(ctx, c, forward, 100);
  for (int64_t i = 0; i < c.cols; ++i) {
    EXPECT_EQ(hundred.at("dweight").view().as<float>()[i], 100.0f + zero.at("dweight").view().as<float>()[i])
        << hint(c, random);
  }
}

TEST_P(Norm, RefusesWhatBreaksItsContract) {
  Context ctx(GetParam());
  Buffer x(Dtype::kF32, {3, 4}), other(Dtype::kF32, {4, 3}), weight(Dtype::kF32, {4}),
      inv_rms(Dtype::kF32, {3});
  EXPECT_THROW(rms_norm_forward(ctx, {.x = x.view(), .y = other.view()}), ContractError);
  EXPECT_THROW(rms_norm_forward(ctx, {.x = x.view(), .residual = x.view(), .y = x.view()}), ContractError);
  EXPECT_THROW(rms_norm_forward(ctx, {.x = x.view(), .weight = inv_rms.view(), .y = x.view()}),
               ContractError);
  EXPECT_THROW(rms_norm_forward(ctx, {.x = x.view(), .y = x.view(), .inv_rms = weight.view()}),
               ContractError);
  EXPECT_THROW(rms_norm_backward(ctx, {.sum = x.view(), .dy = x.view(), .dx = x.view()}), ContractError);
}

TEST(NormCpu, ThreadsChangeNoBit) {
  Random random;
  for (const int64_t rows : {5, 700}) {
    const NormCase c = NormCase::fresh(random, Dtype::kF32, rows, 300);
    Context one(Backend::kCpu, 1);
    const Buffers want = run_forward(one, c), dwant = run_backward(one, c, want);
    for (const int threads : {2, 3}) {
      Context ctx(Backend::kCpu, threads);
      expect_same_bits(Views(run_forward(ctx, c)), Views(want), hint(c, random));
      expect_same_bits(Views(run_backward(ctx, c, want)), Views(dwant), hint(c, random));
    }
  }
}

TEST(NormCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu), reference(Backend::kReference);
  const NormCase c = NormCase::fresh(random, Dtype::kF64, 2, 3);
  EXPECT_THROW(run_forward(ctx, c), ContractError);
  EXPECT_THROW(run_backward(ctx, c, run_forward(reference, c)), ContractError);
}

}  // namespace
}  // namespace natrix::test
