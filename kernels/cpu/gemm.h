// The one place where the CPU backend multiplies matrices: c = op(a) op(b) [+ c] [+ bias on every row], in
// f32.
//
// An element of c is a sum over k in blocks of kGemmBlock terms: within a block one chain of fused
// multiply-adds in order of k, then the blocks in order, onto c or bias. Nothing else decides its bits: not
// the other rows or columns of the call, not where the element falls in a tile, not the number of threads,
// not the length of a vector. So a chunk of another size recomputes the same numbers, an expert gives a token
// the same answer whoever is routed beside it, and a decoded token is the token that a prefill computes. No
// BLAS promises this; see docs/decisions/005.
//
// Cost: 2 M N K operations, at four fifths of what the processor can do from some 500 rows on (bench_matmul
// says where it stands on a machine). Scratch: 1 MiB a thread.
#pragma once

#include <span>

#include "kernels/packed_weight.h"

namespace natrix::cpu {

/// op(b) as one matrix of a packed stack, transposed (kernels/packed_weight.h). Of int8, op(a) has integers.
struct PackedOperand {
  const PackedWeight* weight = nullptr;
  int64_t matrix = 0;
  const float* scale = nullptr;       // [N], int8 only, as are the others
  const float* steps = nullptr;       // [M, blocks of 64 terms]: what an integer of op(a) stands for
  const int16_t* integers = nullptr;  // op(a) [K], where it is one row; zero up to a multiple of four
};

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

  const PackedOperand* packed = nullptr;  // instead of b; a_k must be 1, and c is not accumulated

  /// Whether columns are scaled once they are summed, and the bias comes after that.
  bool scales() const { return packed != nullptr && packed->scale != nullptr; }
};

/// Computes all products, which share no output, on the context's threads together.
void gemm(Context& ctx, std::span<const Gemm> products);

}  // namespace natrix::cpu
