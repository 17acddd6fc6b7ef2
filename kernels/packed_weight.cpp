#include "kernels/packed_weight.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/base/parallel.h"

namespace natrix {
namespace {

constexpr int64_t kLineBytes = 64;
constexpr float kMostInt8 = 127;

int64_t lanes_of(WeightFormat format) {
  return kLineBytes / element_bytes(format);
}

/// Ties to even. What is not a number stays that.
uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

float scale_of(const float* row, int64_t cols) {
  float most = 0;
  for (int64_t k = 0; k < cols; ++k) {
    if (!std::isfinite(row[k])) {
      throw RunError("a weight is not finite, which int8 cannot hold: read the model with weights in f32");
    }
    most = std::max(most, std::fabs(row[k]));
  }
  return most / kMostInt8;
}

/// to[k · lanes] = f(row[k])
template <class T, class F>
void spread(const float* row, int64_t cols, T* to, F&& f) {
  constexpr int64_t kLanes = kLineBytes / static_cast<int64_t>(sizeof(T));
  for (int64_t k = 0; k < cols; ++k) to[k * kLanes] = f(row[k]);
}

/// Row n of a matrix into its lane.
void pack_row(View weight, const PackedWeight& to, int64_t matrix, int64_t n) {
  const float* row = weight.row<float>(matrix * to.rows + n);
  const int64_t panel = n / to.lanes(), lane = n % to.lanes();
  const auto lane_of = [&]<class T>(T) { return const_cast<T*>(to.panel<T>(matrix, panel)) + lane; };
  switch (to.format) {
    case WeightFormat::kF32: return spread(row, to.cols, lane_of(float{}), [](float w) { return w; });
    case WeightFormat::kBF16: return spread(row, to.cols, lane_of(uint16_t{}), to_bf16);
    case WeightFormat::kInt8: break;
  }
  const float scale = to.scale[matrix * to.rows + n] = scale_of(row, to.cols);
  spread(row, to.cols, lane_of(int8_t{}), [&](float w) {
    return static_cast<int8_t>(scale > 0 ? std::lrint(std::clamp(w / scale, -kMostInt8, kMostInt8)) : 0);
  });
}

}  // namespace

int64_t element_bytes(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32: return 4;
    case WeightFormat::kBF16: return 2;
    case WeightFormat::kInt8: return 1;
  }
  contract_broken("unknown weight format", std::source_location::current());
}

int64_t packed_bytes(WeightFormat format, const Shape& shape) {
  const int64_t n = shape[shape.rank() - 2], k = shape.cols(), lanes = lanes_of(format);
  const int64_t matrices = shape.rank() == 3 ? shape[0] : 1;
  return matrices * ((n + lanes - 1) / lanes) * k * kLineBytes;
}

int64_t PackedWeight::lanes() const {
  return lanes_of(format);
}

int64_t PackedWeight::panels() const {
  return (rows + lanes() - 1) / lanes();
}

void pack_weight(Context& ctx, View weight, const PackedWeight& to) {
  require(weight.dtype == Dtype::kF32 && weight.rows() == to.stack * to.rows && weight.cols() == to.cols,
          "pack_weight: weight must be f32 of the extents of what it is packed into");
  require((to.scale != nullptr) == (to.format == WeightFormat::kInt8), "pack_weight: int8 alone has scales");
  const int64_t panels = to.panels();
  parallel_for(ctx, to.stack * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t matrix = i / panels, panel = i % panels, first = panel * to.lanes();
      auto* bytes = static_cast<char*>(to.data) + i * to.cols * kLineBytes;
      if (first + to.lanes() > to.rows) std::fill_n(bytes, to.cols * kLineBytes, char{0});
      for (int64_t n = first; n < std::min(first + to.lanes(), to.rows); ++n) {
        pack_row(weight, to, matrix, n);
      }
    }
  });
}

float unpacked(const PackedWeight& w, int64_t matrix, int64_t n, int64_t k) {
  const int64_t panel = n / w.lanes(), at = k * w.lanes() + n % w.lanes();
  switch (w.format) {
    case WeightFormat::kF32: return w.panel<float>(matrix, panel)[at];
    case WeightFormat::kBF16: return from_bf16(w.panel<uint16_t>(matrix, panel)[at]);
    case WeightFormat::kInt8: break;
  }
  return w.scale[matrix * w.rows + n] * static_cast<float>(w.panel<int8_t>(matrix, panel)[at]);
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
