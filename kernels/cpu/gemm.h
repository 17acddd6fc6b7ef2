// All matrix products of the CPU backend: c = op(a) op(b) [+ c] [+ bias on every row], in f32.
//
// An element of c is summed in a fixed order: k is divided into blocks of kGemmBlock terms; a block is one
// chain of fused multiply-adds in order of k; the blocks are added in order to c or to the bias. Nothing else
// affects its bits: not the other rows or columns of the call, the position in a tile, the number of threads
// or the vector length. Therefore another chunk size gives the same numbers, an expert's result for a token
// does not depend on the other tokens, and a decoded token equals the one that a prefill computes. No BLAS
// promises this; see docs/decisions/005.
//
// Cost: 2 M N K operations, at four fifths of the processor's peak from about 500 rows on (bench_matmul
// measures it). Scratch: 1 MiB per thread.
#pragma once

#include <span>

#include "kernels/packed_weight.h"

namespace natrix::cpu {

/// op(b) as one matrix of a packed stack, transposed (kernels/packed_weight.h). With int8,
/// op(a) holds integers.
struct PackedOperand {
  const PackedWeight* weight = nullptr;
  int64_t matrix = 0;
  const float* scale = nullptr;       // [N]; this and the following for int8 only
  const float* steps = nullptr;       // [M, blocks of 64 terms]: the step of op(a)'s integers
  const int16_t* integers = nullptr;  // op(a) [K] if it is one row; zero-padded to a multiple of four
};

/// Element (i, k) of op(a) is at a[i * a_row + k * a_k], and (k, j) of op(b) at b[k * b_k + j * b_col]. In
/// each pair of steps one must be 1. c is row-major.
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

  const PackedOperand* packed = nullptr;  // instead of b; requires a_k = 1 and not accumulate

  /// Whether columns are scaled after summing; the bias is then added after the scale.
  bool scales() const { return packed != nullptr && packed->scale != nullptr; }
};

/// Computes all products together on the context's threads. No two products may share an output.
void gemm(Context& ctx, std::span<const Gemm> products);

}  // namespace natrix::cpu
