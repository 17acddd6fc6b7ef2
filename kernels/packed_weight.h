// A read-only weight matrix packed for inference, in f32, bf16 or int8. Linear layers multiply
// by it where nothing is trained.
//
// The rows of W [N, K] are cut into panels of 16 rows. A panel is a sequence of cache lines. A
// line has one 32-bit lane for each of the 16 rows; a lane holds t consecutive terms: one of
// f32, two of bf16 or four of int8.
//
//   line l, lane j of panel p  =  W[16 p + j, l t … l t + t − 1]
//
// Lanes beyond the last row and terms beyond the last column are zero.
//
// With this layout y = x Wᵀ reads lines in order and needs no sum across lanes, and GEMM
// needs no further packing.
//
// f32 panels follow one another. In formats with several terms a lane, groups of four panels are
// interleaved: line l of each of the four, then line l + 1. The four panels are read side by side, so they
// are one run of memory. (The hardware prefetches four separate runs only where there is as little work
// between two lines as with f32.)
//
// bf16 rounds to nearest, ties to even. int8 is symmetric with one scale a row:
//
//   W[n, k] ≈ scale[n] q,   scale[n] = max_k |W[n, k]| / 127,   q the nearest integer
//
// The error is at most scale[n] / 2. Activations that meet int8 weights are rounded as well,
// see RoundedActivations.
#pragma once

#include <algorithm>
#include <span>

#include "kernels/base/context.h"

namespace natrix {

enum class WeightFormat : uint8_t { kF32, kBF16, kInt8 };

constexpr int64_t element_bytes(WeightFormat format) {
  return format == WeightFormat::kF32 ? 4 : format == WeightFormat::kBF16 ? 2 : 1;
}
/// Bytes of data for a W of this shape, [N, K] or [G, N, K].
int64_t packed_bytes(WeightFormat format, const Shape& shape);

/// Borrows its memory, like a View. In a stack (experts) the matrices follow one another.
struct PackedWeight {
  static constexpr int64_t kPanelRows = 16, kLineBytes = 64;
  static constexpr int64_t kAbreast = 4;  // panels read side by side; the first is a multiple of it

  /// The lines of a panel.
  struct Panel {
    char* first;
    int64_t step;  // bytes from a line to the next
    char* line(int64_t l) const { return first + l * step; }
  };

  WeightFormat format = WeightFormat::kF32;
  int64_t stack = 1, rows = 0, cols = 0;  // [stack, N, K]
  void* data = nullptr;                   // stack · panels · lines of 64 bytes, aligned as such
  float* scale = nullptr;                 // [stack, N]; int8 only

  explicit operator bool() const { return data != nullptr; }
  int64_t terms() const { return 4 / element_bytes(format); }       // terms in a lane
  int64_t lines() const { return (cols + terms() - 1) / terms(); }  // lines in a panel
  int64_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  int64_t panel_bytes() const { return lines() * kLineBytes; }
  /// Bytes between panels that are read side by side.
  int64_t apart() const { return terms() == 1 ? panel_bytes() : kLineBytes; }
  Panel panel(int64_t matrix, int64_t p) const {
    const int64_t first = terms() == 1 ? p : p / kAbreast * kAbreast;  // first panel interleaved with p
    const int64_t woven = terms() == 1 ? 1 : std::min(kAbreast, panels() - first);
    return {static_cast<char*>(data) + (matrix * panels() + first) * panel_bytes() + (p - first) * kLineBytes,
            woven * kLineBytes};
  }
};

/// Fills `to`, whose extents are those of weight: f32 [N, K] or [G, N, K]. Throws InputError where int8
/// cannot hold a weight because it is not finite.
void pack_weight(Context& ctx, View weight, const PackedWeight& to);

/// W[n, k] of one matrix of the stack, as the format stores it.
float unpacked(const PackedWeight& weight, int64_t matrix, int64_t n, int64_t k);

/// y[r] = W[tokens[r]]: embedding_forward for a packed table. tokens [R..] i64
/// in [0, N), y f32 or f64 [R.., K].
void unpack_rows(const PackedWeight& weight, View tokens, View y);

/// Rounds activations that meet int8 weights to twelve bits, in blocks of 64 terms:
///
///   x_k ≈ s i_k,   s = max |x| / 2047 over the block,   i the nearest integer (ties to even)
///
/// A sum of 64 products i q is an integer below 2047 · 127 · 64 < 2^24. It is exact in int32
/// and, in any order of additions, in f32. Decoding adds integers and a prefill uses GEMM in
/// f32; both give the same bits. The rounding error is about 2^-12 of the largest of the 64
/// values, a tenth of the error of int8 weights.
struct RoundedActivations {
  static constexpr int64_t kBlock = 64;
  static constexpr float kMost = 2047;
  static int64_t blocks(int64_t K) { return (K + kBlock - 1) / kBlock; }
};
/// Rounds one block of at most 64 values into `integers` and returns s. s is not
/// finite if any value is not finite.
float round_activations(std::span<const float> x, int16_t* integers);

}  // namespace natrix
