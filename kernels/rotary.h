// Rotary position embedding (arXiv 2104.09864): turns pairs of channels of each head by an angle that grows
// with the token's position in its document.
//
//   y_i         = m (x_i cos a − x_{i+w/2} sin a)        a = position · frequency_i, for i < w/2
//   y_{i+w/2}   = m (x_{i+w/2} cos a + x_i sin a)
//   y_c         = x_c                                    for the channels c ≥ w of a head
//
// w is the rotary width, two channels a frequency. m is the magnitude (1, or YaRN's attention factor). Angles
// are made in double: float ones are wrong by 1e-3 at a million tokens.
//
// Shapes: x and y are [B, T, H·D] with strided rows, for heads of D channels, w ≤ D. To turn queries and keys
// that lie next to each other, give both as one view. y may alias x.
//
// position [B] i64, or empty (zero): position of the segment's first token in its document.
// doc_start [B, T] u8, or empty: a 1 marks the first token of a document; positions start from 0 there.
//
// The gradient turns back: dx = rotary of dy with `reverse`.
//
// Dtypes: f32 on every backend, f64 on the reference only.
#pragma once

#include <span>
#include <vector>

#include "kernels/base/context.h"

namespace natrix {

/// Ways to stretch frequencies beyond the length that a model was trained on.
enum class RotaryScaling { kNone, kLinear, kLlama3, kYarn };

struct RotaryFrequencies {
  double theta = 10000;
  int64_t width = 0;  // even
  RotaryScaling scaling = RotaryScaling::kNone;
  double factor = 1;  // of all but kNone
  /// The length before scaling, original_max_position_embeddings, of kLlama3 and kYarn.
  double original_length = 0;
  double low_freq_factor = 1, high_freq_factor = 4;  // of kLlama3
  double beta_fast = 32, beta_slow = 1;              // of kYarn
  bool truncate = true;                              // of kYarn
};
/// Radians a token, [width / 2]:
///   kNone     f_i = theta^(−2i/width)
///   kLinear   f_i / factor
///   kLlama3   by wavelength 2π/f_i: shorter than original_length / high_freq_factor f_i, longer than
///             original_length / low_freq_factor f_i / factor, between the two blended
///   kYarn     (arXiv 2309.00071) pairs that turn more than beta_fast times in original_length keep f_i, those
///             that turn less than beta_slow times get f_i / factor, a linear ramp lies between the two
std::vector<double> rotary_frequencies(const RotaryFrequencies& args);
/// YaRN's magnitude for a factor where a config gives none: 0.1 ln(factor) + 1.
double yarn_magnitude(double factor);

struct Rotary {
  View x;
  int64_t head_dim = 0;                 // D
  std::span<const double> frequencies;  // [w / 2]
  View position, doc_start;             // optional
  double magnitude = 1;
  bool reverse = false;  // turns by the negative angle
  View y;                // out (=)
};
void rotary(Context& ctx, const Rotary& args);
Cost cost(const Rotary& args);

/// The position of every token of sequence b in its document.
void find_positions(const Rotary& args, int64_t b, std::span<int64_t> of_token);

namespace reference {
void rotary(Context& ctx, const Rotary& args);
}  // namespace reference
namespace cpu {
void rotary(Context& ctx, const Rotary& args);
}  // namespace cpu
namespace cuda {
void rotary(Context& ctx, const Rotary& args);
}  // namespace cuda

}  // namespace natrix
