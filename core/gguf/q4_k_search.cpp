#include "core/gguf/q4_k_search.h"

#include <algorithm>
#include <cmath>

#include "core/files/half_float.h"

namespace natrix {
namespace {

constexpr int kPart = 32, kParts = kLarge / kPart;
constexpr int kMostQ = 15, kMostScale = 63;
constexpr int kRounds = 6;  // of rounding and fitting; few parts change after the fourth

/// x ≈ step · q − offset, both at least 0.
struct Line {
  float step = 0, offset = 0;
};

int nearest_q(float x, Line l) {
  const float q = std::nearbyint((x + l.offset) / l.step);
  return q >= kMostQ ? kMostQ : q > 0 ? static_cast<int>(q) : 0;  // NaN becomes 0
}

float squared_error(const float* x, Line l) {
  float sum = 0;
  for (int i = 0; i < kPart; ++i) {
    const float e = l.step * static_cast<float>(nearest_q(x[i], l)) - l.offset - x[i];
    sum += e * e;
  }
  return sum;
}

/// The line of least squares through the q that `l` gives. Where its offset would be negative, that through 0.
Line refit(const float* x, Line l) {
  float sum_q = 0, sum_qq = 0, sum_x = 0, sum_qx = 0;
  for (int i = 0; i < kPart; ++i) {
    const auto q = static_cast<float>(nearest_q(x[i], l));
    sum_q += q;
    sum_qq += q * q;
    sum_x += x[i];
    sum_qx += q * x[i];
  }
  const float spread = kPart * sum_qq - sum_q * sum_q;
  if (!(spread > 0)) return l;
  Line fitted;
  fitted.step = (kPart * sum_qx - sum_q * sum_x) / spread;
  fitted.offset = (fitted.step * sum_q - sum_x) / kPart;
  if (fitted.offset < 0) fitted = {.step = sum_qx / sum_qq, .offset = 0};
  return fitted.step > 0 ? fitted : l;
}

Line fit_part(const float* x) {
  const auto [low, high] = std::minmax_element(x, x + kPart);
  const float least = std::min(*low, 0.0f), range = std::max(*high, 0.0f) - least;
  if (!(range > 0) || !std::isfinite(range)) return {};
  Line best;
  float best_error = INFINITY;
  // A smaller first step cuts off the ends of the range, which pays where few values lie there.
  for (const float shrink : {1.0f, 0.95f, 0.9f, 0.84f, 0.78f}) {
    Line l = {.step = range * shrink / kMostQ, .offset = -least * shrink};
    for (int round = 0; round < kRounds && l.step > 0; ++round) {
      const float error = squared_error(x, l);
      if (error < best_error) {
        best_error = error;
        best = l;
      }
      l = refit(x, l);
    }
  }
  return best;
}

uint8_t six_bits(float value, float unit) {
  return unit > 0 ? static_cast<uint8_t>(std::clamp(std::nearbyint(value / unit), 0.0f, float{kMostScale}))
                  : 0;
}

Line line_of(const Q4KFit& fit, int j) {
  const ScaleAndOffset s = fit.parts[static_cast<size_t>(j)];
  return {.step = half_to_float(fit.d) * static_cast<float>(s.scale),
          .offset = half_to_float(fit.m) * static_cast<float>(s.offset)};
}

void round_all(const float* x, Q4KFit& fit) {
  for (int e = 0; e < kLarge; ++e) {
    const Line l = line_of(fit, e / kPart);
    fit.q[static_cast<size_t>(e)] = l.step > 0 ? static_cast<uint8_t>(nearest_q(x[e], l)) : 0;
  }
}

double block_error(const float* x, const Q4KFit& fit) {
  double sum = 0;
  for (int e = 0; e < kLarge; ++e) {
    const Line l = line_of(fit, e / kPart);
    const double error = l.step * static_cast<float>(fit.q[static_cast<size_t>(e)]) - l.offset - x[e];
    sum += error * error;
  }
  return sum;
}

/// d and m of least squares for the given q, s_j and t_j; unchanged where the two cannot be told apart.
void refit_units(const float* x, Q4KFit& fit) {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;  // x ≈ d · a − m · b
  for (int e = 0; e < kLarge; ++e) {
    const ScaleAndOffset s = fit.parts[static_cast<size_t>(e / kPart)];
    const double a = s.scale * fit.q[static_cast<size_t>(e)], b = s.offset;
    aa += a * a;
    ab += a * b;
    bb += b * b;
    ax += a * x[e];
    bx += b * x[e];
  }
  const double determinant = aa * bb - ab * ab;
  if (!(determinant > 1e-9 * aa * bb)) return;
  const double d = (ax * bb - bx * ab) / determinant, m = (ax * ab - bx * aa) / determinant;
  if (!(d > 0) || !(m >= 0)) return;
  fit.d = float_to_half(static_cast<float>(d));
  fit.m = float_to_half(static_cast<float>(m));
}

}  // namespace

ScaleAndOffset unpack_scale(const uint8_t* twelve, int j) {
  if (j < 4) {
    return {.scale = static_cast<uint8_t>(twelve[j] & 63),
            .offset = static_cast<uint8_t>(twelve[j + 4] & 63)};
  }
  return {.scale = static_cast<uint8_t>((twelve[j + 4] & 15) | twelve[j - 4] >> 6 << 4),
          .offset = static_cast<uint8_t>(twelve[j + 4] >> 4 | twelve[j] >> 6 << 4)};
}

void pack_scale(ScaleAndOffset s, int j, uint8_t* twelve) {
  const auto add = [&](int at, int bits) { twelve[at] = static_cast<uint8_t>(twelve[at] | bits); };
  if (j < 4) {
    add(j, s.scale);
    add(j + 4, s.offset);
    return;
  }
  add(j + 4, (s.scale & 15) | (s.offset & 15) << 4);
  add(j - 4, s.scale >> 4 << 6);
  add(j, s.offset >> 4 << 6);
}

Q4KFit fit_q4_k(const float* x) {
  std::array<Line, kParts> lines;
  float most_step = 0, most_offset = 0;
  for (size_t j = 0; j < kParts; ++j) {
    lines[j] = fit_part(x + static_cast<int64_t>(j) * kPart);
    most_step = std::max(most_step, lines[j].step);
    most_offset = std::max(most_offset, lines[j].offset);
  }
  Q4KFit fit;
  fit.d = float_to_half(most_step / kMostScale);
  fit.m = float_to_half(most_offset / kMostScale);
  for (size_t j = 0; j < kParts; ++j) {
    fit.parts[j] = {.scale = six_bits(lines[j].step, half_to_float(fit.d)),
                    .offset = six_bits(lines[j].offset, half_to_float(fit.m))};
  }
  round_all(x, fit);
  for (int round = 0; round < 2; ++round) {
    Q4KFit next = fit;
    refit_units(x, next);
    round_all(x, next);
    if (!(block_error(x, next) < block_error(x, fit))) break;
    fit = next;
  }
  return fit;
}

}  // namespace natrix
