// A weight matrix packed for reading, in f32 or fewer bits: what a linear layer multiplies by where nothing
// is trained.
//
// The rows of W [N, K] are cut into panels of 16. A panel is a run of cache lines; a line has a lane of 32
// bits for each of the 16 rows, with one term of f32, two of bf16 or four of int8:
//
//   line l, lane j of panel p  =  W[16 p + j, l t … l t + t − 1]    t terms a lane; zero beyond the last
//                                                                   row or column
//
// So y = x Wᵀ reads lines one after the other and needs no sum across lanes, and GEMM finds its operand
// packed.
//
// Panels of f32 follow one another. Of formats with several terms a lane, four are woven, line l of each and
// then line l + 1, so that the four that are read side by side are one run of memory. (From four runs the
// processor asks ahead by itself only where there is as little to do between two lines as in f32.)
//
// bf16 is the nearest, ties to even. int8 is symmetric with a scale a row:
//
//   W[n, k] ≈ scale[n] q,   scale[n] = max_k |W[n, k]| / 127,   q the nearest integer
//
// off by at most scale[n] / 2; and what meets it is rounded too (see RoundedActivations).
#pragma once

#include <algorithm>
#include <span>

#include "kernels/base/context.h"

namespace natrix {

enum class WeightFormat : uint8_t { kF32, kBF16, kInt8 };

constexpr int64_t element_bytes(WeightFormat format) {
  return format == WeightFormat::kF32 ? 4 : format == WeightFormat::kBF16 ? 2 : 1;
}
/// Of data, for W of this shape, [N, K] or [G, N, K].
int64_t packed_bytes(WeightFormat format, const Shape& shape);

/// Borrowed, like a View. A stack of matrices (experts) has them one after the other.
struct PackedWeight {
  static constexpr int64_t kPanelRows = 16, kLineBytes = 64;
  static constexpr int64_t kAbreast = 4;  // panels that are read side by side, from a multiple of it on

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
  int64_t terms() const { return 4 / element_bytes(format); }       // of a lane
  int64_t lines() const { return (cols + terms() - 1) / terms(); }  // of a panel
  int64_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  int64_t panel_bytes() const { return lines() * kLineBytes; }
  int64_t apart() const { return terms() == 1 ? panel_bytes() : kLineBytes; }  // bytes, of panels abreast
  Panel panel(int64_t matrix, int64_t p) const {
    const int64_t first = terms() == 1 ? p : p / kAbreast * kAbreast;  // of those that it is woven with
    const int64_t woven = terms() == 1 ? 1 : std::min(kAbreast, panels() - first);
    return {static_cast<char*>(data) + (matrix * panels() + first) * panel_bytes() + (p - first) * kLineBytes,
            woven * kLineBytes};
  }
};

/// Fills `to`, whose extents are those of weight: f32 [N, K] or [G, N, K]. InputError if int8 cannot hold it,
/// that is where it is not finite.
void pack_weight(Context& ctx, View weight, const PackedWeight& to);

/// W[n, k] of a matrix of the stack, as near as the format has it.
float unpacked(const PackedWeight& weight, int64_t matrix, int64_t n, int64_t k);

/// y[r] = W[tokens[r]]: what embedding_forward does of a table that is not packed. tokens [R..] i64 in [0,
/// N), y f32 or f64 [R.., K].
void unpack_rows(const PackedWeight& weight, View tokens, View y);

/// Activations that meet int8 weights are rounded to twelve bits, 64 terms at a time:
///
///   x_k ≈ s i_k,   s = max |x| / 2047 over the block,   i the nearest integer (ties to even)
///
/// A sum of 64 products i q is then an integer below 2047 · 127 · 64 < 2^24, exact in int32 and, in any
/// order, in f32: decoding adds integers and a prefill goes through GEMM, and both give the same bits. The
/// rounding, some 2^-12 of the largest of 64, is a tenth of what int8 does to the weights.
struct RoundedActivations {
  static constexpr int64_t kBlock = 64;
  static constexpr float kMost = 2047;
  static int64_t blocks(int64_t K) { return (K + kBlock - 1) / kBlock; }
};
/// One block of at most 64: integers, and s. Of values that are not finite, s is not finite either.
float round_activations(std::span<const float> x, int16_t* integers);

}  // namespace natrix
