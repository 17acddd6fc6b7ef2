#include "kernels/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

double llama3(double frequency, const RotaryFrequencies& a) {
  const double turns = a.original_length * frequency / (2 * std::numbers::pi);  // within the original length
  const double blend = (turns - a.low_freq_factor) / (a.high_freq_factor - a.low_freq_factor);
  if (turns < a.low_freq_factor) return frequency / a.factor;
  if (turns > a.high_freq_factor) return frequency;
  return (1 - blend) * frequency / a.factor + blend * frequency;
}

/// The pair, as a real number, that turns so many times within the original length.
double yarn_pair(double turns, const RotaryFrequencies& a) {
  return static_cast<double>(a.width) * std::log(a.original_length / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(a.theta));
}

double yarn(double frequency, int64_t pair, const RotaryFrequencies& a) {
  double low = yarn_pair(a.beta_fast, a), high = yarn_pair(a.beta_slow, a);
  if (a.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(a.width - 1));
  if (low == high) high += 0.001;  // as the published code avoids a division by zero
  const double ramp = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
  return ramp * frequency / a.factor + (1 - ramp) * frequency;
}

void check(const Rotary& a) {
  require(a.x.dtype == Dtype::kF32 || a.x.dtype == Dtype::kF64, "rotary: x must be f32 or f64");
  require(a.x.shape.rank() == 3, "rotary: x must be [B, T, H·D]");
  require(a.head_dim > 0 && a.x.cols() % a.head_dim == 0, "rotary: x must have whole heads");
  require(2 * static_cast<int64_t>(a.frequencies.size()) <= a.head_dim,
          "rotary: the rotary width must not exceed a head's channels");
  check_view(a.y, a.x.dtype, a.x.shape, "rotary: y");
  check_optional(a.position, Dtype::kI64, {a.x.extent(0)}, "rotary: position");
  check_optional(a.doc_start, Dtype::kU8, {a.x.extent(0), a.x.extent(1)}, "rotary: doc_start");
}

}  // namespace

std::vector<double> rotary_frequencies(const RotaryFrequencies& a) {
  require(a.width > 0 && a.width % 2 == 0, "rotary_frequencies: width must be even and positive");
  require(a.theta > 0 && a.factor > 0, "rotary_frequencies: theta and factor must be positive");
  const bool by_length = a.scaling == RotaryScaling::kLlama3 || a.scaling == RotaryScaling::kYarn;
  require(!by_length || a.original_length > 0, "rotary_frequencies: needs the original length");
  std::vector<double> f(static_cast<size_t>(a.width / 2));
  for (int64_t i = 0; i < a.width / 2; ++i) {
    const double plain = std::pow(a.theta, -2.0 * static_cast<double>(i) / static_cast<double>(a.width));
    f[static_cast<size_t>(i)] = a.scaling == RotaryScaling::kLinear   ? plain / a.factor
                                : a.scaling == RotaryScaling::kLlama3 ? llama3(plain, a)
                                : a.scaling == RotaryScaling::kYarn   ? yarn(plain, i, a)
                                                                      : plain;
  }
  return f;
}

double yarn_magnitude(double factor) {
  return factor <= 1 ? 1.0 : 0.1 * std::log(factor) + 1;
}

void find_positions(const Rotary& a, int64_t b, std::span<int64_t> of_token) {
  int64_t position = a.position ? a.position.as<int64_t>()[b] : 0;
  for (int64_t t = 0; t < a.x.extent(1); ++t, ++position) {
    if (a.doc_start && a.doc_start.row<uint8_t>(b)[t] != 0) position = 0;
    of_token[static_cast<size_t>(t)] = position;
  }
}

Cost cost(const Rotary& a) {
  return {.bytes = bytes_of({a.x, a.y})};
}

void rotary(Context& ctx, const Rotary& args) {
  check(args);
  dispatch<Rotary>(ctx, "rotary", args,
                   {.reference = reference::rotary, .cpu = cpu::rotary, .cuda = if_cuda<cuda::rotary>()});
}

}  // namespace natrix
