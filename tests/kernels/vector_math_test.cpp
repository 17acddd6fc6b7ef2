// Holds every function of kernels/cpu/vector_math-inl.h and exp2-inl.h to the error that its header states,
// on every instruction set of this machine: against double, on a dense grid of its range and at its corners.
#include <cstdint>

#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/kernels/vector_math_test.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// y = f(x), element by element, where f(d, v) is one of the vector functions.
template <class F>
HWY_INLINE void transform(const float* x, float* y, int64_t count, F f) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += lanes) {
    const int64_t some = count - i < lanes ? count - i : lanes;
    StoreSome(d, f(d, LoadSome(d, x + i, some)), y + i, some);
  }
}

void exp2_non_positive(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return Exp2NonPositive(d, v); });
}
void exp2_normal(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return Exp2Normal(d, v); });
}
void exp(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return Exp(d, v); });
}
void log1p_unit(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return Log1pUnit(d, v); });
}
void softplus(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return Softplus(d, v); });
}
void sigmoid(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return Sigmoid(d, v); });
}
void silu(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return Silu(d, v); });
}
void silu_derivative(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return SiluDerivative(d, v); });
}
void gelu(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return Gelu(d, v); });
}
void gelu_derivative(const float* x, float* y, int64_t count) {
  transform(x, y, count, [](auto d, auto v) HWY_ATTR { return GeluDerivative(d, v); });
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "tests/kernels/targets.h"

namespace natrix::cpu {

HWY_EXPORT(exp2_non_positive);
HWY_EXPORT(exp2_normal);
HWY_EXPORT(exp);
HWY_EXPORT(log1p_unit);
HWY_EXPORT(softplus);
HWY_EXPORT(sigmoid);
HWY_EXPORT(silu);
HWY_EXPORT(silu_derivative);
HWY_EXPORT(gelu);
HWY_EXPORT(gelu_derivative);

namespace {

using Floats = std::vector<float>;
using Apply = void (*)(const float*, float*, int64_t);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Floats grid(double low, double high) {
  constexpr int64_t kPoints = 1'000'003;
  Floats x(kPoints);
  for (int64_t i = 0; i < kPoints; ++i) {
    x[static_cast<size_t>(i)] =
        static_cast<float>(low + (high - low) * static_cast<double>(i) / static_cast<double>(kPoints - 1));
  }
  return x;
}

Floats evaluate(Apply f, const Floats& x) {
  Floats y(x.size());
  f(x.data(), y.data(), static_cast<int64_t>(x.size()));
  return y;
}

/// The distance between f32 neighbours around |exact|.
double ulp(double exact) {
  const auto magnitude = std::max(static_cast<float>(std::fabs(exact)), std::numeric_limits<float>::min());
  return static_cast<double>(std::nextafter(magnitude, kInfinity)) - static_cast<double>(magnitude);
}

/// The worst error over a grid, each divided by scale(x, exact value).
template <class Exact, class Scale>
double worst(Apply f, Exact exact, double low, double high, Scale scale) {
  const Floats x = grid(low, high), y = evaluate(f, x);
  double error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto at = static_cast<double>(x[i]);
    const double want = exact(at);
    const double e = std::fabs(static_cast<double>(y[i]) - want) / scale(at, want);
    if (!(e <= error)) error = e;  // lets a NaN through
  }
  return error;
}

template <class Exact>
double worst_ulp(Apply f, Exact exact, double low, double high) {
  return worst(f, exact, low, high, [](double, double want) { return ulp(want); });
}

template <class Exact>
double worst_absolute(Apply f, Exact exact, double low, double high) {
  return worst(f, exact, low, high, [](double, double) { return 1.0; });
}

double exact_exp2(double x) {
  return std::exp2(x);
}
double exact_exp(double x) {
  return std::exp(x);
}
double exact_log1p(double x) {
  return std::log1p(x);
}
double exact_softplus(double x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}
double exact_sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double exact_silu(double x) {
  return x / (1 + std::exp(-x));
}
double exact_silu_derivative(double x) {
  return exact_sigmoid(x) * (1 + x * (1 - exact_sigmoid(x)));
}
double normal_cdf(double x) {
  return 0.5 * std::erfc(-x / std::sqrt(2.0));
}
double exact_gelu(double x) {
  return x * normal_cdf(x);
}
double exact_gelu_derivative(double x) {
  return normal_cdf(x) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * std::acos(-1.0));
}

class VectorMath : public test::OnEveryTarget {};
INSTANTIATE_TEST_SUITE_P(Targets, VectorMath, ::testing::ValuesIn(test::targets()), test::target_name);

TEST_P(VectorMath, Exp2NonPositive) {
  const Apply f = HWY_DYNAMIC_DISPATCH(exp2_non_positive);
  const double most = (GetParam() & (HWY_AVX3 | HWY_AVX2)) != 0 ? 1.5 : 2.5;  // with a table, and without
  EXPECT_LE(worst_ulp(f, exact_exp2, -126, 0), most);
  EXPECT_LE(worst_ulp(f, exact_exp2, -1, 0), most);
  EXPECT_LE(worst_ulp(f, exact_exp2, -1e-5, 0), 1);
  EXPECT_LE(worst_absolute(f, exact_exp2, -200, -126), std::exp2(-126));
  EXPECT_EQ(evaluate(f, {0.0f, -0.0f, -1.0f, -126.0f, -127.0f, -1e30f, -kInfinity}),
            (Floats{1.0f, 1.0f, 0.5f, std::exp2(-126.0f), 0.0f, 0.0f, 0.0f}));
  if (GetParam() != HWY_SCALAR && GetParam() != HWY_EMU128) {
    EXPECT_TRUE(std::isnan(evaluate(f, {kNan})[0]));
  }
}

TEST_P(VectorMath, Exp2NormalIsExp2NonPositiveWhereNothingUnderflows) {
  const Apply normal = HWY_DYNAMIC_DISPATCH(exp2_normal), clamped = HWY_DYNAMIC_DISPATCH(exp2_non_positive);
  Floats x;
  for (float v = -126; v <= 0; v += 0.0173f) x.push_back(v);
  x.insert(x.end(), {-126.0f, -125.5f, -0.5f, -1e-30f, 0.0f});
  EXPECT_EQ(evaluate(normal, x), evaluate(clamped, x));
}

// A long sequence multiplies thousands of decays near 1: what their rates are off by, on average, adds up.
TEST_P(VectorMath, Exp2OfSmallStepsIsRightOnAverage) {
  const Floats x = grid(-1.0 / 256, 0), y = evaluate(HWY_DYNAMIC_DISPATCH(exp2_non_positive), x);
  double error = 0, decay = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = exact_exp2(static_cast<double>(x[i]));
    error += static_cast<double>(y[i]) - exact;
    decay += 1 - exact;
  }
  EXPECT_LE(std::fabs(error), 1e-6 * decay);
}

TEST_P(VectorMath, Exp) {
  const Apply f = HWY_DYNAMIC_DISPATCH(exp);
  EXPECT_LE(worst_ulp(f, exact_exp, -87.33, 88.72), 2);
  EXPECT_LE(worst_ulp(f, exact_exp, -1, 1), 2);
  EXPECT_EQ(evaluate(f, {0.0f, -87.34f, -1e30f, -kInfinity, 88.7229f, 1e30f, kInfinity}),
            (Floats{1.0f, 0.0f, 0.0f, 0.0f, kInfinity, kInfinity, kInfinity}));
  EXPECT_TRUE(std::isnan(evaluate(f, {kNan})[0]));
}

TEST_P(VectorMath, Log1pUnit) {
  const Apply f = HWY_DYNAMIC_DISPATCH(log1p_unit);
  EXPECT_LE(worst_ulp(f, exact_log1p, 0, 1), 4);
  EXPECT_LE(worst_ulp(f, exact_log1p, 0, 1e-6), 4);
  EXPECT_EQ(evaluate(f, {0.0f})[0], 0.0f);
  EXPECT_TRUE(std::isnan(evaluate(f, {kNan})[0]));
}

TEST_P(VectorMath, Softplus) {
  const Apply f = HWY_DYNAMIC_DISPATCH(softplus);
  EXPECT_LE(worst_ulp(f, exact_softplus, -87, 40), 5);
  EXPECT_LE(worst_ulp(f, exact_softplus, -12, 3), 5);
  EXPECT_EQ(evaluate(f, {20.5f, 1e30f, -1e30f, kInfinity}), (Floats{20.5f, 1e30f, 0.0f, kInfinity}));
  EXPECT_TRUE(std::isnan(evaluate(f, {kNan})[0]));
}

TEST_P(VectorMath, SigmoidAndSilu) {
  const Apply sigmoid = HWY_DYNAMIC_DISPATCH(sigmoid), silu = HWY_DYNAMIC_DISPATCH(silu);
  EXPECT_LE(worst_ulp(sigmoid, exact_sigmoid, -87, 100), 4);
  EXPECT_LE(worst_ulp(silu, exact_silu, -80, 100), 5);
  EXPECT_LE(worst_ulp(silu, exact_silu, -4, 4), 5);
  EXPECT_EQ(evaluate(sigmoid, {0.0f, -1e30f, 1e30f}), (Floats{0.5f, 0.0f, 1.0f}));
  EXPECT_EQ(evaluate(silu, {0.0f, -1e30f, 1e30f}), (Floats{0.0f, 0.0f, 1e30f}));
  EXPECT_TRUE(std::isnan(evaluate(sigmoid, {kNan})[0]));
  EXPECT_TRUE(std::isnan(evaluate(silu, {kNan})[0]));
}

TEST_P(VectorMath, SiluDerivative) {
  const Apply f = HWY_DYNAMIC_DISPATCH(silu_derivative);
  EXPECT_LE(worst_absolute(f, exact_silu_derivative, -100, 100), 3e-7);
  EXPECT_LE(worst_absolute(f, exact_silu_derivative, -6, 6), 3e-7);
}

TEST_P(VectorMath, Gelu) {
  const Apply f = HWY_DYNAMIC_DISPATCH(gelu);
  const auto scale = [](double x, double) { return std::max(1.0, std::fabs(x)); };
  EXPECT_LE(worst(f, exact_gelu, -50, 50, scale), 2e-7);
  EXPECT_LE(worst(f, exact_gelu, -4, 4, scale), 2e-7);
  EXPECT_EQ(evaluate(f, {0.0f, -1e3f, 1e3f}), (Floats{0.0f, 0.0f, 1e3f}));
  EXPECT_TRUE(std::isnan(evaluate(f, {kNan})[0]));
}

TEST_P(VectorMath, GeluDerivative) {
  const Apply f = HWY_DYNAMIC_DISPATCH(gelu_derivative);
  EXPECT_LE(worst_absolute(f, exact_gelu_derivative, -50, 50), 4e-7);
  EXPECT_LE(worst_absolute(f, exact_gelu_derivative, -4, 4), 4e-7);
}

/// LoadSome and StoreSome stand at the ends of every `transform` above; here, that they touch no neighbour.
TEST_P(VectorMath, PartialVectorsTouchNoNeighbour) {
  const Apply f = HWY_DYNAMIC_DISPATCH(silu);
  for (int64_t count = 1; count < 40; ++count) {
    const auto n = static_cast<size_t>(count);
    const Floats x(n, 1.0f);  // exactly sized: a sanitizer sees a read past its end
    Floats y(n + 16, 7.0f);
    f(x.data(), y.data(), count);
    for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i] == 7.0f, i >= n) << count << " " << i;
  }
}

}  // namespace
}  // namespace natrix::cpu

#endif  // HWY_ONCE
