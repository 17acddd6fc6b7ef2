// Transposes a matrix of f32, four by four elements in registers.

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

#if HWY_TARGET != HWY_SCALAR
HWY_INLINE void Transpose4x4(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> pairs;
  const auto row0 = hn::LoadU(d, from), row1 = hn::LoadU(d, from + from_stride);
  const auto row2 = hn::LoadU(d, from + 2 * from_stride), row3 = hn::LoadU(d, from + 3 * from_stride);
  const auto lower01 =
      hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1));  // columns 0 and 1 of rows 0 and 1
  const auto upper01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1));
  const auto lower23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3));
  const auto upper23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, lower01, lower23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, lower01, lower23)), d, to + to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, upper01, upper23)), d, to + 2 * to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, upper01, upper23)), d, to + 3 * to_stride);
}
#endif

/// to[c][r] = from[r][c] for r < rows, c < cols.
HWY_INLINE void Transpose(const float* HWY_RESTRICT from, int64_t from_stride, int64_t rows, int64_t cols,
                          float* HWY_RESTRICT to, int64_t to_stride) {
  int64_t whole_rows = 0, whole_cols = 0;  // what goes four by four
#if HWY_TARGET != HWY_SCALAR
  whole_rows = rows / 4 * 4;
  whole_cols = cols / 4 * 4;
  for (int64_t r = 0; r < whole_rows; r += 4) {
    for (int64_t c = 0; c < whole_cols; c += 4) {
      Transpose4x4(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    }
  }
#endif
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c)
      to[c * to_stride + r] = from[r * from_stride + c];
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
