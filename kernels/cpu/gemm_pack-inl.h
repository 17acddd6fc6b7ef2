// Packing for GEMM: copies a panel of rows (or columns) of a matrix into the order in
// which the kernel reads it.
//
//   out[k * width + j] = p[j * lane_step + k * k_step]     for j < lanes; zero for j from there up to width
//
// One of the steps is 1. If it is k_step, packing transposes, four terms of up to eight lanes at a time.

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

#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr int64_t kCacheLine = 16;  // floats

#if HWY_TARGET != HWY_SCALAR  // which cannot interleave

using Four = hn::FixedTag<float, 4>;
using Eight = hn::CappedTag<float, 8>;  // four where vectors hold only four

/// K terms, a multiple of four, of as many lanes as D has. Prefetches two cache lines ahead: the lanes are
/// too many and too far apart for the hardware prefetcher.
template <class D>
HWY_INLINE void TransposeLanes(D d, const float* p, int64_t step, int64_t K, int64_t width, float* out) {
  for (int64_t j = 0; j < static_cast<int64_t>(hn::Lanes(d)); ++j)
    hwy::Prefetch(p + j * step + 2 * kCacheLine);
  for (int64_t k = 0; k < K; k += 4) {
    FourTerms(d, p + k, step).store(d, out + k * width, width);
  }
}

#endif

/// k_step = 1, a few lanes. Copies one cache line of every lane before the next line of any lane. Otherwise
/// lines would leave the cache half used.
HWY_INLINE void PackTransposedLanes(const float* p, int64_t lane_step, int64_t lanes, int64_t K,
                                    int64_t width, float* out) {
  for (int64_t k = 0; k < K; k += kCacheLine) {
    const int64_t terms = std::min(kCacheLine, K - k);
    int64_t j = 0;
#if HWY_TARGET != HWY_SCALAR
    if (terms % 4 == 0) {
      const auto eight = static_cast<int64_t>(hn::Lanes(Eight()));
      for (; j + eight <= lanes; j += eight) {
        TransposeLanes(Eight(), p + j * lane_step + k, lane_step, terms, width, out + k * width + j);
      }
      for (; j + 4 <= lanes; j += 4) {
        TransposeLanes(Four(), p + j * lane_step + k, lane_step, terms, width, out + k * width + j);
      }
    }
#endif
    for (; j < lanes; ++j) {
      for (int64_t i = k; i < k + terms; ++i) out[i * width + j] = p[j * lane_step + i];
    }
  }
}

/// k_step = 1. Finishes a group of lanes before it starts the next, so that the hardware prefetcher can
/// follow all of them and each line of `out` is written at once.
HWY_INLINE void PackTransposed(const float* p, int64_t lane_step, int64_t lanes, int64_t K, int64_t width,
                               float* out) {
  constexpr int64_t kTogether = kCacheLine;
  for (int64_t j = 0; j < lanes; j += kTogether) {
    PackTransposedLanes(p + j * lane_step, lane_step, std::min(kTogether, lanes - j), K, width, out + j);
  }
}

/// lane_step = 1.
HWY_INLINE void PackCopied(const float* p, int64_t k_step, int64_t lanes, int64_t K, int64_t width,
                           float* out) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 8> d8;
  const auto step = static_cast<int64_t>(hn::Lanes(d)), step8 = static_cast<int64_t>(hn::Lanes(d8));
  for (int64_t k = 0; k < K; ++k, p += k_step, out += width) {
    int64_t j = 0;
    for (; j + step <= lanes; j += step) hn::StoreU(hn::LoadU(d, p + j), d, out + j);
    for (; j + step8 <= lanes; j += step8) hn::StoreU(hn::LoadU(d8, p + j), d8, out + j);
    for (; j < lanes; ++j) out[j] = p[j];
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
