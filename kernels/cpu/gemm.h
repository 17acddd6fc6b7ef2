// The one place where the CPU backend multiplies matrices: c = op(a) op(b) [+ c] [+ bias on every row], in
// f32.
//
// An element of c is a sum over k in blocks of kBlock terms: within a block one chain of fused multiply-adds
// in order of k, then the blocks in order. Nothing else decides its bits: not the other rows or columns of
// the call, not where an element falls in a tile, not the number of threads, not the vector length. (A BLAS
// promises none of this. oneDNN 2.6 on AVX2, for one, gives a row other bits when the number of rows
// changes.) Recomputing a chunk of another size, sending a token to its expert among other tokens, and
// decoding after a prefill all lean on it.
//
// Cost: packing reads op(b) once for every kTileRows rows, and op(a) once for every tile of columns.
#pragma once

#include <span>

#include "kernels/base/context.h"

namespace natrix::cpu {

/// Element (i, k) of op(a) is at a[i * a_row + k * a_k] and (k, j) of op(b) at b[k * b_k + j * b_col]; of
/// each pair of steps one is 1. c is row-major.
struct Gemm {
  int64_t M = 0, N = 0, K = 0;
  const float* a = nullptr;
  int64_t a_row = 0, a_k = 0;
  const float* b = nullptr;
  int64_t b_k = 0, b_col = 0;
  float* c = nullptr;
  int64_t c_row = 0;
  const float* bias = nullptr;  // [N], optional
  bool accumulate = false;      // c += instead of c =
};

/// Computes all products, which share no output, on the context's threads together.
void gemm(Context& ctx, std::span<const Gemm> products);

}  // namespace natrix::cpu
