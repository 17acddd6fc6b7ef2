// Packing for GEMM: a panel of `lanes` rows (or columns) of a matrix, laid out so that the kernel reads it
// front to back.
//
//   out[k * width + j] = p[j * lane_step + k * k_step]     for j < lanes; zero for j from there up to width
//
// One of the steps is 1. Where that is k_step, packing transposes: four elements of eight lanes at a time.

#if defined(NATRIX_KERNELS_CPU_GEMM_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_GEMM_PACK_INL_H_
#undef NATRIX_KERNELS_CPU_GEMM_PACK_INL_H_
#else
#define NATRIX_KERNELS_CPU_GEMM_PACK_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR  // which cannot interleave

using Four = hn::FixedTag<float, 4>;
using Eight = hn::CappedTag<float, 8>;  // four where vectors hold no more

/// Four floats from p on; a wider vector has those of p + 4 · step in its second half.
HWY_INLINE hn::Vec<Four> LoadFours(Four d, const float* p, int64_t) {
  return hn::LoadU(d, p);
}
#if HWY_MAX_BYTES >= 32
HWY_INLINE hn::Vec<Eight> LoadFours(Eight d, const float* p, int64_t step) {
  return hn::Combine(d, hn::LoadU(Four(), p + 4 * step), hn::LoadU(Four(), p));
}
#endif

/// out[k * width + j] = p[j * step + k] for four k, and as many j as D has lanes.
template <class D>
HWY_INLINE void TransposeFour(D d, const float* p, int64_t step, float* out, int64_t width) {
  const hn::RepartitionToWide<D> pairs;
  const auto row0 = LoadFours(d, p, step), row1 = LoadFours(d, p + step, step),
             row2 = LoadFours(d, p + 2 * step, step), row3 = LoadFours(d, p + 3 * step, step);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1)),
             low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3)),
             high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1)),
             high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, out + width);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, out + 2 * width);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, out + 3 * width);
}

/// Transposes terms [0, K), K a multiple of four, of as many lanes as D has. A cache line of each lane is
/// fetched ahead: the lanes lie too far apart, and are too many, for the hardware to see what comes next.
template <class D>
HWY_INLINE void TransposeLanes(D d, const float* p, int64_t step, int64_t K, float* out, int64_t width) {
  constexpr int64_t kLine = 16;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t j = 0; j < lanes; ++j) hwy::Prefetch(p + j * step + 2 * kLine);
  for (int64_t k = 0; k < K; k += 4) TransposeFour(d, p + k, step, out + k * width, width);
}

#endif

/// As the file's head says, with k_step = 1.
HWY_INLINE void PackTransposed(const float* p, int64_t lane_step, int64_t lanes, int64_t K, int64_t width,
                               float* out) {
  int64_t fours = 0;  // terms that come in fours
#if HWY_TARGET != HWY_SCALAR
  constexpr int64_t kTerms = 16;  // a cache line of every lane, before the next of any
  const auto eight = static_cast<int64_t>(hn::Lanes(Eight()));
  fours = K / 4 * 4;
  for (int64_t k = 0; k < fours; k += kTerms) {
    const int64_t terms = std::min(kTerms, fours - k);
    float* to = out + k * width;
    int64_t j = 0;
    for (; j + eight <= lanes; j += eight)
      TransposeLanes(Eight(), p + j * lane_step + k, lane_step, terms, to + j, width);
    for (; j + 4 <= lanes; j += 4)
      TransposeLanes(Four(), p + j * lane_step + k, lane_step, terms, to + j, width);
    for (; j < lanes; ++j) {
      for (int64_t i = 0; i < terms; ++i) to[i * width + j] = p[j * lane_step + k + i];
    }
  }
#endif
  for (int64_t k = fours; k < K; ++k) {
    for (int64_t j = 0; j < lanes; ++j) out[k * width + j] = p[j * lane_step + k];
  }
}

/// As the file's head says, with lane_step = 1.
HWY_INLINE void PackCopied(const float* p, int64_t k_step, int64_t lanes, int64_t K, int64_t width,
                           float* out) {
  const hn::CappedTag<float, 8> d;
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t i = 0; i < lanes; i += 16) hwy::Prefetch(p + (k + 16) * k_step + i);
    int64_t j = 0;
    for (; j + step <= lanes; j += step) hn::StoreU(hn::LoadU(d, p + k * k_step + j), d, out + k * width + j);
    for (; j < lanes; ++j) out[k * width + j] = p[k * k_step + j];
  }
}

HWY_INLINE void Pack(const float* p, int64_t lane_step, int64_t k_step, int64_t lanes, int64_t K,
                     int64_t width, float* out) {
  if (lanes < width) std::fill_n(out, K * width, 0.0f);
  if (k_step == 1) {
    PackTransposed(p, lane_step, lanes, K, width, out);
  } else {
    PackCopied(p, k_step, lanes, K, width, out);
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
