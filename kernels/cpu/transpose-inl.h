// Transposes a matrix of f32 in registers: four columns at a time, and as many rows as a vector has lanes.

#if defined(NATRIX_KERNELS_CPU_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_TRANSPOSE_INL_H_
#undef NATRIX_KERNELS_CPU_TRANSPOSE_INL_H_
#else
#define NATRIX_KERNELS_CPU_TRANSPOSE_INL_H_
#endif

#include <cstdint>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR  // which cannot interleave

/// Loads four floats each from p, p + 4 step, p + 8 step, …, until all lanes of D are filled.
template <class D>
HWY_INLINE hn::Vec<D> LoadFours(D d, const float* p, int64_t step) {
  constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(d));
  if constexpr (kLanes == 4) {
    return hn::LoadU(d, p);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, LoadFours(half, p + kLanes / 2 * step, step), LoadFours(half, p, step));
  }
}

/// Four terms of as many lanes as D has, transposed: lane j of term k is p[j * step + k].
template <class D>
struct FourTerms {
  hn::Vec<D> term[4];

  HWY_INLINE FourTerms(D d, const float* p, int64_t step) {
    const hn::RepartitionToWide<D> pairs;
    const auto row0 = LoadFours(d, p, step), row1 = LoadFours(d, p + step, step),
               row2 = LoadFours(d, p + 2 * step, step), row3 = LoadFours(d, p + 3 * step, step);
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1)),
               low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3)),
               high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1)),
               high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
    term[0] = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
    term[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
    term[2] = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
    term[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
  }

  /// sum + Σ_k a[k] term k, added in order.
  HWY_INLINE hn::Vec<D> mul_add(D d, const float* a, hn::Vec<D> sum) const {
    for (int64_t k = 0; k < 4; ++k) sum = hn::MulAdd(hn::Set(d, a[k]), term[k], sum);
    return sum;
  }

  /// Stores term k at to + k * to_step.
  HWY_INLINE void store(D d, float* to, int64_t to_step) const {
    for (int64_t k = 0; k < 4; ++k) hn::StoreU(term[k], d, to + k * to_step);
  }
};

/// to[c][r] = from[r][c], for as many rows as D has lanes and for whole groups of four columns.
template <class D>
HWY_INLINE void TransposeRows(D d, const float* HWY_RESTRICT from, int64_t from_stride, int64_t cols,
                              float* HWY_RESTRICT to, int64_t to_stride) {
  for (int64_t c = 0; c + 4 <= cols; c += 4)
    FourTerms(d, from + c, from_stride).store(d, to + c * to_stride, to_stride);
}
#endif

/// to[c][r] = from[r][c] for r < rows, c < cols.
HWY_INLINE void Transpose(const float* HWY_RESTRICT from, int64_t from_stride, int64_t rows, int64_t cols,
                          float* HWY_RESTRICT to, int64_t to_stride) {
  int64_t whole_rows = 0, whole_cols = 0;  // the part that goes through registers
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> wide;
  const hn::FixedTag<float, 4> four;
  const auto lanes = static_cast<int64_t>(hn::Lanes(wide));
  whole_cols = cols / 4 * 4;
  for (; whole_rows + lanes <= rows; whole_rows += lanes)
    TransposeRows(wide, from + whole_rows * from_stride, from_stride, cols, to + whole_rows, to_stride);
  for (; whole_rows + 4 <= rows; whole_rows += 4)
    TransposeRows(four, from + whole_rows * from_stride, from_stride, cols, to + whole_rows, to_stride);
#endif
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c)
      to[c * to_stride + r] = from[r * from_stride + c];
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
