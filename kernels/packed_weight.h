// A weight matrix packed for reading, in f32 or fewer bits: what a linear layer multiplies by where nothing
// is trained.
//
// The rows of W [N, K] are cut into panels of as many rows as a cache line has elements: 16 of f32, 32 of
// bf16, 64 of int8. A panel is K lines; line k holds element k of each of its rows:
//
//   line k, lane j of panel p  =  W[p · lanes + j, k]          zero beyond the last row
//
// So y = x Wᵀ reads a panel front to back and needs no sum across lanes, and GEMM finds its operand packed.
//
// int8 is symmetric, with a scale a row:  W[n, k] ≈ scale[n] q,  scale[n] = max_k |W[n, k]| / 127,  q the
// nearest integer: off by at most scale[n] / 2. bf16 is the nearest, ties to even.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

enum class WeightFormat : uint8_t { kF32, kBF16, kInt8 };

/// Borrowed, like a View. A stack of matrices (experts) has them one after the other.
struct PackedWeight {
  WeightFormat format = WeightFormat::kF32;
  int64_t stack = 1, rows = 0, cols = 0;  // [stack, N, K]
  void* data = nullptr;                   // [stack, panels, K] lines of 64 bytes, aligned as such
  float* scale = nullptr;                 // [stack, N]; int8 only

  explicit operator bool() const { return data != nullptr; }
  int64_t lanes() const;   // rows of a panel
  int64_t panels() const;  // of one matrix
  /// Line 0 of a panel of a matrix.
  template <class T>
  const T* panel(int64_t matrix, int64_t p) const {
    return static_cast<const T*>(data) + (matrix * panels() + p) * cols * lanes();
  }
};

int64_t element_bytes(WeightFormat format);
/// Of data, for W of this shape, [N, K] or [G, N, K].
int64_t packed_bytes(WeightFormat format, const Shape& shape);

/// Fills `to`, whose extents are those of weight: f32 [N, K] or [G, N, K]. RunError if int8 cannot hold it,
/// that is where it is not finite.
void pack_weight(Context& ctx, View weight, const PackedWeight& to);

/// W[n, k] of a matrix of the stack, as near as the format has it.
float unpacked(const PackedWeight& weight, int64_t matrix, int64_t n, int64_t k);

/// y[r] = W[tokens[r]]: what embedding_forward does of a table that is not packed. tokens [R..] i64 in [0,
/// N), y f32 or f64 [R.., K].
void unpack_rows(const PackedWeight& weight, View tokens, View y);

}  // namespace natrix
