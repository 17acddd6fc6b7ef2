// Elementary functions on Highway vectors of f32, compiled once per instruction set, in
// natrix::cpu::HWY_NAMESPACE. Largest errors:
//
//   Exp              e^x                             2 ulp; 0 below 2^−126, +inf above FLT_MAX
//   Log1pUnit        log(1 + x) for 0 ≤ x ≤ 1        4 ulp
//   Softplus         log(1 + e^x)                    5 ulp for −87 ≤ x; the identity above 20
//   Sigmoid, Silu    1 / (1 + e^−x), x · sigmoid(x)  4 ulp and 5 ulp
//   SiluDerivative   d silu / dx                     absolute 3e-7
//   Gelu             x Φ(x), the erf form            absolute 2e-7 · max(1, |x|)
//   GeluDerivative   Φ(x) + x φ(x)                   absolute 4e-7
//
// NaN gives NaN. The scan's own exponential is in exp2-inl.h. tests/kernels/vector_math_test.cpp checks
// every line of this table.
//
// Polynomial coefficients are minimax fits in double, rounded to f32. Their own errors are given beside them.

#if defined(NATRIX_KERNELS_CPU_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_VECTOR_MATH_INL_H_
#undef NATRIX_KERNELS_CPU_VECTOR_MATH_INL_H_
#else
#define NATRIX_KERNELS_CPU_VECTOR_MATH_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <hwy/highway.h>
#include <limits>

#include "kernels/cpu/exp2-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Loads the first `count` lanes from p, and zeros above. Does not access memory past p + count.
template <class D>
HWY_INLINE hn::Vec<D> LoadSome(D d, const hn::TFromD<D>* p, int64_t count) {
  HWY_ALIGN hn::TFromD<D> lanes[HWY_MAX_BYTES / sizeof(hn::TFromD<D>)] = {};
  std::memcpy(lanes, p, static_cast<size_t>(count) * sizeof lanes[0]);
  return hn::Load(d, lanes);
}

/// Stores the first `count` lanes to p. Does not access memory past p + count.
template <class D>
HWY_INLINE void StoreSome(D d, hn::Vec<D> v, hn::TFromD<D>* p, int64_t count) {
  HWY_ALIGN hn::TFromD<D> lanes[HWY_MAX_BYTES / sizeof(hn::TFromD<D>)];
  hn::Store(v, d, lanes);
  std::memcpy(p, lanes, static_cast<size_t>(count) * sizeof lanes[0]);
}

/// p · 2^n, where n is the integer in the low bits of `rounded` = n + kRoundingMagic. The low nine bits of
/// the magic number are zero, so the shift leaves n alone in the exponent field.
template <class D>
HWY_INLINE hn::Vec<D> ScaleByPowerOfTwo(D d, hn::Vec<D> p, hn::Vec<D> rounded) {
  const hn::RebindToSigned<D> di;
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, rounded))));
}

template <class D>
HWY_INLINE hn::Vec<D> Exp(D d, hn::Vec<D> x) {
  const auto rounded =
      hn::MulAdd(x, hn::Set(d, 1.44269504f), hn::Set(d, kRoundingMagic));  // n = round(x / ln 2)
  const auto n = hn::Sub(rounded, hn::Set(d, kRoundingMagic));
  auto r =
      hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);  // x − n ln 2; ln 2 in two parts, n · 355/512 is exact
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  auto p = hn::Set(d, 0.00138146128f);  // e^r for |r| ≤ ½ ln 2, relative error 3.1e-9
  p = hn::MulAdd(p, r, hn::Set(d, 0.00836871006f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.041668389f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.166665211f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.49999994f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = ScaleByPowerOfTwo(d, p, rounded);
  p = hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3365402f)), p);  // e^x < 2^−126
  const auto infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  return hn::IfThenElse(hn::Gt(x, hn::Set(d, 88.7228317f)), infinity, p);  // e^x > FLT_MAX
}

/// log(1 + x) = 2 artanh(s) with s = x / (2 + x): no cancellation, however small x is.
template <class D>
HWY_INLINE hn::Vec<D> Log1pUnit(D d, hn::Vec<D> x) {
  const auto s = hn::Div(x, hn::Add(x, hn::Set(d, 2.0f)));  // 0 … ⅓
  const auto s2 = hn::Mul(s, s);
  auto p = hn::Set(d, 0.280244678f);  // 2 artanh(s) / s, relative error 4.5e-9
  p = hn::MulAdd(p, s2, hn::Set(d, 0.279991388f));
  p = hn::MulAdd(p, s2, hn::Set(d, 0.400216997f));
  p = hn::MulAdd(p, s2, hn::Set(d, 0.666664124f));
  p = hn::MulAdd(p, s2, hn::Set(d, 2.0f));
  return hn::Mul(p, s);
}

template <class D>
HWY_INLINE hn::Vec<D> Softplus(D d, hn::Vec<D> x) {
  // Above 20 the second term is below half an ulp of the first, so the result is x without a special case.
  const auto tail = Log1pUnit(d, Exp(d, hn::Neg(hn::Abs(x))));
  return hn::Add(hn::Max(hn::Zero(d), x), tail);
}

template <class D>
HWY_INLINE hn::Vec<D> Sigmoid(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, Exp(d, hn::Neg(x))));
}

template <class D>
HWY_INLINE hn::Vec<D> Silu(D d, hn::Vec<D> x) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(x))));
}

/// σ + x σ (1 − σ), from e^−|x|. It never computes 1 − σ and never overflows.
template <class D>
HWY_INLINE hn::Vec<D> SiluDerivative(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  const auto e = Exp(d, hn::Neg(hn::Abs(x)));
  const auto upper = hn::Div(one, hn::Add(one, e));  // σ(|x|)
  const auto lower = hn::Mul(e, upper);              // σ(−|x|)
  const auto sigma = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), lower, upper);
  return hn::MulAdd(x, hn::Mul(upper, lower), sigma);
}

/// Φ(x), the normal distribution function, given bell = exp(−x²/2).
/// Φ(−|x|) = ½ erfc(z) = ½ bell · erfcx(z) with z = |x|/√2, and erfcx is a polynomial in t = 1 / (1 + z/2).
template <class D>
HWY_INLINE hn::Vec<D> NormalCdf(D d, hn::Vec<D> x, hn::Vec<D> bell) {
  const auto one = hn::Set(d, 1.0f);
  const auto t = hn::Div(one, hn::MulAdd(hn::Abs(x), hn::Set(d, 0.353553391f), one));
  auto p = hn::Set(d, -0.0590688959f);  // erfcx(z) / t, relative error 4.3e-8
  p = hn::MulAdd(p, t, hn::Set(d, 0.284574687f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.487199396f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.278066665f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.0266253725f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.202686772f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.243103787f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.282375306f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.282086432f));
  const auto lower = hn::Mul(hn::Mul(hn::Mul(p, t), hn::Set(d, 0.5f)), bell);  // Φ(−|x|)
  return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Sub(one, lower), lower);
}

template <class D>
HWY_INLINE hn::Vec<D> Bell(D d, hn::Vec<D> x) {
  return Exp(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f)));
}

template <class D>
HWY_INLINE hn::Vec<D> Gelu(D d, hn::Vec<D> x) {
  return hn::Mul(x, NormalCdf(d, x, Bell(d, x)));
}

template <class D>
HWY_INLINE hn::Vec<D> GeluDerivative(D d, hn::Vec<D> x) {
  const auto bell = Bell(d, x);
  const auto density = hn::Mul(bell, hn::Set(d, 0.398942280f));  // φ(x) = bell / √(2π)
  return hn::MulAdd(x, density, NormalCdf(d, x, bell));
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
