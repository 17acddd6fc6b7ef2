// 2^x for x ≤ 0. The scan needs one for every token, channel and state. Compiled once per instruction set, in
// natrix::cpu::HWY_NAMESPACE.
//
//   2^x = 2^(k/K) · 2^r        k = round(K x), |r| ≤ 1/(2K)
//
// The first factor comes from a table lookup: the table of the fractions 2^((k mod K)/K) fills one register,
// and one instruction looks an entry up. The exponent ⌊k/K⌋ is then added to it. The second factor is 1 + r
// q(r); the larger K is, the lower the degree of q:
//
//                                         K    degree of q    relative error of 1 + r q(r)
//   AVX-512                               16        2               1.6e-9
//   AVX2                                   8        2               2.7e-8
//   others, whose vectors are too short    1        4               9.1e-8
//
// q(0) must be ln 2 to f32 precision: a long sequence multiplies thousands of steps near 1, and errors of
// their rates add up. (A q of degree 1 for K = 32 approximates 2^r to f32 precision, but its q(0) is off by
// 1.5e-5. Gradients over 3000 tokens were then five to ten times as far from exact ones.)
//
// Both factors are exactly 1 at x = 0, where a step of the scan must change nothing.
//
// Tang, "Table-driven implementation of the exponential function in IEEE floating-point arithmetic", ACM
// TOMS 15 (1989). Coefficients are minimax fits in double, rounded to f32.

#if defined(NATRIX_KERNELS_CPU_EXP2_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_EXP2_INL_H_
#undef NATRIX_KERNELS_CPU_EXP2_INL_H_
#else
#define NATRIX_KERNELS_CPU_EXP2_INL_H_
#endif

#include <array>
#include <bit>
#include <cstdint>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// max(low, x). NaN where x is NaN (on vector instruction sets only).
template <class V>
HWY_INLINE V AtLeast(V low, V x) {
#if HWY_ARCH_ARM  // Highway's Max is an instruction that prefers a number to a NaN.
  return hn::IfThenElse(hn::Lt(x, low), low, x);
#else
  return hn::Max(low, x);  // x is the second operand, so that x86 propagates a NaN.
#endif
}

/// min(high, x). NaN where x is NaN (on vector instruction sets only).
template <class V>
HWY_INLINE V AtMost(V high, V x) {
#if HWY_ARCH_ARM
  return hn::IfThenElse(hn::Gt(x, high), high, x);
#else
  return hn::Min(high, x);
#endif
}

/// Adding 1.5 · 2^23 rounds a small f32 to an integer, which ends up in the low bits of the sum. Adding a
/// K-th of it rounds to a multiple of 1/K, and the low bits are k.
inline constexpr float kRoundingMagic = 12582912.0f;

#if HWY_TARGET <= HWY_AVX3
inline constexpr int kLogK = 4;
#elif HWY_TARGET == HWY_AVX2
inline constexpr int kLogK = 3;
#else
inline constexpr int kLogK = 0;
#endif
inline constexpr int kK = 1 << kLogK;

/// The bits of 2^(j/K) minus the bits of j where the shift of PowerOfTwo puts them; the
/// addition cancels them.
constexpr std::array<uint32_t, kK> FractionTable() {
  constexpr double kRoot = kLogK == 4 ? 1.0442737824274138 : kLogK == 3 ? 1.0905077326652577 : 2;  // 2^(1/K)
  std::array<uint32_t, kK> table{};
  double power = 1;
  for (uint32_t j = 0; j < kK; ++j, power *= kRoot)
    table[j] = std::bit_cast<uint32_t>(static_cast<float>(power)) - (j << (23 - kLogK));
  return table;
}
alignas(64) inline constexpr std::array<uint32_t, kK> kFractions = FractionTable();

/// 2^(k/K), where k is the integer in the low bits of `rounded`. The magic number's own low bits are zero, so
/// a shift leaves ⌊k/K⌋ in the exponent field and k mod K below it.
template <class D>
HWY_INLINE hn::Vec<D> PowerOfTwo(D d, hn::Vec<D> rounded) {
  const hn::RebindToSigned<D> di;
  const auto exponent = hn::ShiftLeft<23 - kLogK>(hn::BitCast(di, rounded));
#if HWY_TARGET <= HWY_AVX3
  // The instruction uses only the low bits of an index. Highway's lookup does not promise that.
  const __m512i table = _mm512_load_si512(kFractions.data()), index = hn::BitCast(di, rounded).raw;
  const hn::Vec<decltype(di)> fraction{_mm512_permutexvar_epi32(index, table)};
#elif HWY_TARGET == HWY_AVX2
  const __m256i table = _mm256_load_si256(reinterpret_cast<const __m256i*>(kFractions.data())),
                index = hn::BitCast(di, rounded).raw;
  const hn::Vec<decltype(di)> fraction{_mm256_permutevar8x32_epi32(table, index)};
#else
  const auto fraction = hn::Set(di, static_cast<int32_t>(kFractions[0]));
#endif
  return hn::BitCast(d, hn::Add(fraction, exponent));
}

/// r = x − round(K x) / K, exactly.
template <class D>
HWY_INLINE hn::Vec<D> Remainder(D d, hn::Vec<D> x, hn::Vec<D> rounded) {
#if HWY_TARGET <= HWY_AVX3
  (void)d, (void)rounded;
  return hn::Vec<D>{_mm512_reduce_ps(x.raw, kLogK << 4)};
#else
  return hn::Sub(x, hn::Sub(rounded, hn::Set(d, kRoundingMagic / kK)));
#endif
}

/// r q(r) = 2^r − 1.
template <class D>
HWY_INLINE hn::Vec<D> PowerLessOne(D d, hn::Vec<D> r) {
  if constexpr (kLogK == 4) {
    const auto q = hn::MulAdd(r, hn::Set(d, 0.0555021353f), hn::Set(d, 0.240234286f));
    return hn::Mul(r, hn::MulAdd(r, q, hn::Set(d, 0.693147182f)));
  } else if constexpr (kLogK == 3) {
    const auto q = hn::MulAdd(r, hn::Set(d, 0.0554962233f), hn::Set(d, 0.240257636f));
    return hn::Mul(r, hn::MulAdd(r, q, hn::Set(d, 0.693147242f)));
  } else {
    auto q = hn::MulAdd(r, hn::Set(d, 0.00132647273f), hn::Set(d, 0.00967151299f));
    q = hn::MulAdd(r, q, hn::Set(d, 0.0555073358f));
    q = hn::MulAdd(r, q, hn::Set(d, 0.240222424f));
    return hn::Mul(r, hn::MulAdd(r, q, hn::Set(d, 0.693147004f)));
  }
}

/// 2^x for −126 ≤ x ≤ 0, within 1.5 ulp, or 2.5 ulp without a table. NaN gives NaN.
template <class D>
HWY_INLINE hn::Vec<D> Exp2Normal(D d, hn::Vec<D> x) {
  const auto rounded = hn::Add(x, hn::Set(d, kRoundingMagic / kK));
  const auto power = PowerOfTwo(d, rounded);
  return hn::MulAdd(power, PowerLessOne(d, Remainder(d, x, rounded)), power);
}

/// The same bits, for any x ≤ 0. Underflow is flushed: any value in [0, 2^−126] for −127 < x < −126, exactly
/// 0 from −127 down. NaN gives NaN (on vector instruction sets only).
template <class D>
HWY_INLINE hn::Vec<D> Exp2NonPositive(D d, hn::Vec<D> x) {
  // At −127, r = 0 and the exponent field is zero.
  return Exp2Normal(d, AtLeast(hn::Set(d, -127.0f), x));
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
