// One row times a matrix whose columns are contiguous: every linear layer of a decoding step. It is bound
// by memory bandwidth, so op(b) is not packed but transposed in registers as it is summed. The bits are
// those of the general kernel.

#if defined(NATRIX_KERNELS_CPU_GEMM_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_GEMM_ROW_INL_H_
#undef NATRIX_KERNELS_CPU_GEMM_ROW_INL_H_
#else
#define NATRIX_KERNELS_CPU_GEMM_ROW_INL_H_
#endif

#include "kernels/cpu/gemm_pack-inl.h"
#include "kernels/cpu/gemm_tile.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE int64_t MultiplyRow(const GemmTile&) {
  return 0;
}

#else

/// K terms of as many columns as a vector has lanes; columns start at b and are b_col apart.
HWY_INLINE hn::Vec<Eight> AddTerms(const float* a, const float* b, int64_t b_col, int64_t K,
                                   hn::Vec<Eight> sum) {
  const Eight d;
  int64_t k = 0;
  for (; k + 4 <= K; k += 4) sum = FourTerms(d, b + k, b_col).mul_add(d, a + k, sum);
  for (; k < K; ++k) {
    HWY_ALIGN float term[8];
    for (size_t j = 0; j < hn::Lanes(d); ++j) term[j] = b[static_cast<int64_t>(j) * b_col + k];
    sum = hn::MulAdd(hn::Set(d, a[k]), hn::Load(d, term), sum);
  }
  return sum;
}

HWY_INLINE void AddTo(float* c, hn::Vec<Eight> sum, bool add) {
  const Eight d;
  hn::StoreU(add ? hn::Add(hn::LoadU(d, c), sum) : sum, d, c);
}

/// Computes columns of a tile of one row and returns their number. The rest does not fill two vectors.
HWY_INLINE int64_t MultiplyRow(const GemmTile& t) {
  const Gemm& g = *t.product;
  if (t.rows != 1 || g.a_k != 1 || g.b_k != 1) return 0;
  const Eight d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const float* a = g.a + t.row * g.a_row;
  float* c = g.c + t.row * g.c_row + t.col;
  int64_t j = 0;
  for (; j + 2 * n <= t.cols; j += 2 * n) {
    const float *b0 = g.b + (t.col + j) * g.b_col, *b1 = b0 + n * g.b_col;
    for (int64_t block = 0; block < g.K; block += kGemmBlock) {
      const int64_t end = std::min(block + kGemmBlock, g.K);
      auto sum0 = hn::Zero(d),
           sum1 = hn::Zero(d);  // two chains hide the latency of an addition; more rows defeat the prefetcher
      for (int64_t k = block; k < end; k += kCacheLine) {
        const int64_t terms = std::min(kCacheLine, end - k);
        sum0 = AddTerms(a + k, b0 + k, g.b_col, terms, sum0);
        sum1 = AddTerms(a + k, b1 + k, g.b_col, terms, sum1);
      }
      AddTo(c + j, sum0, t.adds(block));
      AddTo(c + j + n, sum1, t.adds(block));
    }
  }
  return j;
}

#endif

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
