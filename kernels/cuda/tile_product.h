// A product by one block of threads, whose operands are computed as they are read: rows scaled by decays, masks of
// documents, columns of several heads one after another. Plain f32 multiply-adds from shared memory.
//
//   c(i, j) = Σ_k a(i, k) b(k, j)      for i < rows, j < cols, in order of k
//
// A block of 256 threads computes 64 × 64 results at a time, 4 × 4 a thread, and takes 16 terms at a time through
// shared memory.
#pragma once

#include "kernels/cuda/launch.h"

namespace natrix::cuda {

constexpr int kProductThreads = 256, kProductEdge = 64, kProductDepth = 16;

struct ProductScratch {
  float a[kProductDepth][kProductEdge + 4], b[kProductDepth][kProductEdge + 4];
};

/// The index of `a` along which its elements are neighbours in memory; the threads of a warp read along it.
enum class Along { kTerms, kRows };

/// Calls sink(i, j, sum) once for every result. With row_sums, adds what sink returns to row_sums[i], over all j
/// in a fixed order; it must have been initialised before a barrier. All threads of the block must call this
/// with equal sizes. Ends with a barrier.
template <Along along, class A, class B, class Sink>
__device__ void block_product(ProductScratch& shared, int64_t rows, int64_t cols, int64_t terms, A a, B b,
                              Sink sink, float* row_sums = nullptr) {
  const int thread = static_cast<int>(threadIdx.x), tx = thread % 16, ty = thread / 16;
  constexpr int kLoads = kProductDepth * kProductEdge / kProductThreads;
  for (int64_t i0 = 0; i0 < rows; i0 += kProductEdge) {
    for (int64_t j0 = 0; j0 < cols; j0 += kProductEdge) {
      float sums[4][4] = {};
      for (int64_t k0 = 0; k0 < terms; k0 += kProductDepth) {
        for (int e = 0; e < kLoads; ++e) {
          const int n = thread + e * kProductThreads;
          const int i = along == Along::kTerms ? n / kProductDepth : n % kProductEdge;
          const int k = along == Along::kTerms ? n % kProductDepth : n / kProductEdge;
          shared.a[k][i] = i0 + i < rows && k0 + k < terms ? a(i0 + i, k0 + k) : 0.0f;
          const int j = n % kProductEdge, kb = n / kProductEdge;
          shared.b[kb][j] = j0 + j < cols && k0 + kb < terms ? b(k0 + kb, j0 + j) : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kProductDepth; ++k) {
          for (int r = 0; r < 4; ++r) {
            for (int c = 0; c < 4; ++c) sums[r][c] += shared.a[k][4 * ty + r] * shared.b[k][4 * tx + c];
          }
        }
        __syncthreads();
      }
      for (int r = 0; r < 4; ++r) {
        const int64_t i = i0 + 4 * ty + r;
        float given = 0;
        for (int c = 0; c < 4; ++c) {
          const int64_t j = j0 + 4 * tx + c;
          if (i < rows && j < cols) given += sink(i, j, sums[r][c]);
        }
        if (row_sums == nullptr) continue;
        for (int bits = 8; bits > 0; bits /= 2) given += __shfl_xor_sync(kAllLanes, given, bits);
        if (tx == 0 && i < rows) row_sums[i] += given;
      }
    }
  }
  __syncthreads();
}

}  // namespace natrix::cuda
