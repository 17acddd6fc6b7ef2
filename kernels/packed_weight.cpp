#include "kernels/packed_weight.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/base/parallel.h"

namespace natrix {
namespace {

constexpr float kMostInt8 = 127;

float scale_of(const float* row, int64_t cols) {
  float most = 0;
  for (int64_t k = 0; k < cols; ++k) {
    if (!std::isfinite(row[k])) {
      throw InputError("holds a number that is not finite, which int8 cannot; use weights in f32");
    }
    most = std::max(most, std::fabs(row[k]));
  }
  return most / kMostInt8;
}

/// Element (n, k) in its panel, whose elements are of type T.
template <class T>
T& element(const PackedWeight& w, int64_t matrix, int64_t n, int64_t k) {
  constexpr int64_t kTerms = 4 / static_cast<int64_t>(sizeof(T)), kRows = PackedWeight::kPanelRows;
  char* line = w.panel(matrix, n / kRows).line(k / kTerms);
  return reinterpret_cast<T*>(line)[n % kRows * kTerms + k % kTerms];
}

/// W[n, k] = f(row[k])
template <class T, class F>
void spread(const float* row, const PackedWeight& to, int64_t matrix, int64_t n, F&& f) {
  for (int64_t k = 0; k < to.cols; ++k) element<T>(to, matrix, n, k) = f(row[k]);
}

void pack_row(View weight, const PackedWeight& to, int64_t matrix, int64_t n) {
  const float* row = weight.row<float>(matrix * to.rows + n);
  switch (to.format) {
    case WeightFormat::kF32: return spread<float>(row, to, matrix, n, [](float w) { return w; });
    case WeightFormat::kBF16:
      return spread<BFloat16>(row, to, matrix, n, [](float x) { return BFloat16(x); });
    case WeightFormat::kInt8: break;
  }
  const float scale = to.scale[matrix * to.rows + n] = scale_of(row, to.cols);
  spread<int8_t>(row, to, matrix, n, [&](float w) {
    return static_cast<int8_t>(scale > 0 ? std::lrint(std::clamp(w / scale, -kMostInt8, kMostInt8)) : 0);
  });
}

}  // namespace

int64_t packed_bytes(WeightFormat format, const Shape& shape) {
  const bool stack = shape.rank() == 3;
  const PackedWeight w{
      .format = format, .stack = stack ? shape[0] : 1, .rows = shape[stack ? 1 : 0], .cols = shape.cols()};
  return w.stack * w.panels() * w.panel_bytes();
}

void pack_weight(Context& ctx, View weight, const PackedWeight& to) {
  require(weight.dtype == Dtype::kF32 && weight.rows() == to.stack * to.rows && weight.cols() == to.cols,
          "pack_weight: weight must be f32 of the extents of what it is packed into");
  require((to.scale != nullptr) == (to.format == WeightFormat::kInt8), "pack_weight: int8 alone has scales");
  const int64_t panels = to.panels();
  parallel_for(ctx, to.stack * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t matrix = i / panels, panel = i % panels, first = panel * PackedWeight::kPanelRows;
      for (int64_t l = 0; l < to.lines(); ++l)
        std::fill_n(to.panel(matrix, panel).line(l), PackedWeight::kLineBytes, char{0});
      for (int64_t n = first; n < std::min(first + PackedWeight::kPanelRows, to.rows); ++n) {
        pack_row(weight, to, matrix, n);
      }
    }
  });
}

float unpacked(const PackedWeight& w, int64_t matrix, int64_t n, int64_t k) {
  switch (w.format) {
    case WeightFormat::kF32: return element<float>(w, matrix, n, k);
    case WeightFormat::kBF16: return static_cast<float>(element<BFloat16>(w, matrix, n, k));
    case WeightFormat::kInt8: break;
  }
  return w.scale[matrix * w.rows + n] * static_cast<float>(element<int8_t>(w, matrix, n, k));
}

float round_activations(std::span<const float> x, int16_t* integers) {
  // As unsigned bits, magnitudes keep their order, and NaN is larger than any number.
  uint32_t most_bits = 0;
  for (const float v : x) most_bits = std::max(most_bits, std::bit_cast<uint32_t>(v) & 0x7fffffffu);
  const float most = std::bit_cast<float>(most_bits);
  const float step = most / RoundedActivations::kMost, per_step = RoundedActivations::kMost / most;
  // Unusable: all values are zero, too small, or not finite.
  const bool usable = std::isfinite(per_step) && std::isfinite(step);
  for (size_t k = 0; k < x.size(); ++k) {
    integers[k] = static_cast<int16_t>(usable ? std::lrint(x[k] * per_step) : 0);
  }
  return std::isfinite(step) && !usable ? 0.0f : step;
}

void unpack_rows(const PackedWeight& weight, View tokens, View y) {
  require(tokens.dtype == Dtype::kI64 && tokens.contiguous() && tokens.count() == y.rows() &&
              y.cols() == weight.cols,
          "unpack_rows: tokens [R] i64 and y [R, K] are needed");
  for_float(y.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t r = 0; r < y.rows(); ++r) {
      const int64_t token = tokens.as<int64_t>()[r];
      for (int64_t k = 0; k < y.cols(); ++k) y.row<T>(r)[k] = static_cast<T>(unpacked(weight, 0, token, k));
    }
  });
}

}  // namespace natrix
