// op(b) as a packed weight (kernels/packed_weight.h): one row of a streams its panels; for more rows, panels
// are unpacked into what GEMM packs other operands into. Both give the same bits: values become f32, and the
// scale of an int8 column multiplies the finished sum.

#if defined(NATRIX_KERNELS_CPU_GEMM_PACKED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_GEMM_PACKED_INL_H_
#undef NATRIX_KERNELS_CPU_GEMM_PACKED_INL_H_
#else
#define NATRIX_KERNELS_CPU_GEMM_PACKED_INL_H_
#endif

#include <algorithm>
#include <hwy/highway.h>

#include "kernels/cpu/gemm_tile.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// A vector of f32 from elements of a line.
HWY_INLINE hn::Vec<hn::ScalableTag<float>> LoadWeights(hn::ScalableTag<float> d, const float* p) {
  return hn::Load(d, p);
}
HWY_INLINE hn::Vec<hn::ScalableTag<float>> LoadWeights(hn::ScalableTag<float> d, const uint16_t* bf16) {
  const hn::RebindToUnsigned<hn::ScalableTag<float>> du;
  const hn::Rebind<uint16_t, hn::ScalableTag<float>> d16;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(d16, bf16))));
}
HWY_INLINE hn::Vec<hn::ScalableTag<float>> LoadWeights(hn::ScalableTag<float> d, const int8_t* q) {
  const hn::RebindToSigned<hn::ScalableTag<float>> di;
  const hn::Rebind<int8_t, hn::ScalableTag<float>> d8;
  return hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, q)));
}

/// Calls f with an element of the format's type.
template <class F>
HWY_INLINE void ForFormat(WeightFormat format, F&& f) {
  switch (format) {
    case WeightFormat::kF32: return f(float{});
    case WeightFormat::kBF16: return f(uint16_t{});
    case WeightFormat::kInt8: return f(int8_t{});
  }
}

inline constexpr int64_t kStreamCols = 64;  // sums of one row in registers: eight vectors of AVX2

/// Σ_k a[k] W[k, column] of the columns of P panels that lie panel_step elements apart, onto c. P panels are
/// read side by side: memory answers a few streams faster than one.
template <class T, int P>
HWY_NOINLINE void StreamPanels(const float* a, const T* panels, int64_t panel_step, int64_t K, bool add,
                               float* HWY_RESTRICT c) {
  const hn::ScalableTag<float> d;
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T)), kLanes = hn::MaxLanes(d);
  constexpr int64_t kVectors = kLine / kLanes;
  for (int64_t block = 0; block < K; block += kGemmBlock) {
    const int64_t end = std::min(block + kGemmBlock, K);
    hn::Vec<hn::ScalableTag<float>> sum[P][kVectors];
    for (auto& panel : sum) {
      for (auto& v : panel) v = hn::Zero(d);
    }
    for (int64_t k = block; k < end; ++k) {
      const auto a_k = hn::Set(d, a[k]);
      for (int p = 0; p < P; ++p) {
        const T* line = panels + p * panel_step + k * kLine;
        for (int64_t v = 0; v < kVectors; ++v) {
          sum[p][v] = hn::MulAdd(a_k, LoadWeights(d, line + v * kLanes), sum[p][v]);
        }
      }
    }
    for (int p = 0; p < P; ++p) {
      for (int64_t v = 0; v < kVectors; ++v) {
        float* to = c + p * kLine + v * kLanes;
        hn::StoreU(add || block > 0 ? hn::Add(hn::LoadU(d, to), sum[p][v]) : sum[p][v], d, to);
      }
    }
  }
}

/// The columns of a tile of one row.
template <class T>
void StreamRow(const GemmTile& t) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T)), kTogether = kStreamCols / kLine;
  const Gemm& g = *t.product;
  const float* a = g.a + t.row * g.a_row;
  const int64_t panel_step = g.K * kLine;
  for (int64_t j = 0; j < t.cols; j += kStreamCols) {
    const T* panels = g.packed->panel<T>(g.matrix, (t.col + j) / kLine);
    const int64_t cols = std::min(kStreamCols, t.cols - j);
    float* c = g.c + t.row * g.c_row + t.col + j;
    if (cols == kStreamCols) {
      StreamPanels<T, kTogether>(a, panels, panel_step, g.K, t.adds(0), c);
      continue;
    }
    float sums[kStreamCols];  // the last panel may have more lanes than there are columns
    std::copy_n(c, cols, sums);
    for (int64_t i = 0; i < cols; i += kLine) {
      StreamPanels<T, 1>(a, panels + i / kLine * panel_step, panel_step, g.K, t.adds(0), sums + i);
    }
    std::copy_n(sums, cols, c);
  }
}

/// Terms [first, first + count) of columns [col, col + width) of the matrix: out[k * width + j].
HWY_INLINE void Unpack(const Gemm& g, int64_t col, int64_t first, int64_t count, int64_t width, float* out) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  ForFormat(g.packed->format, [&]<class T>(T) {
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
    for (int64_t j = 0; j < width; j += lanes) {
      const T* from = g.packed->panel<T>(g.matrix, (col + j) / kLine) + first * kLine + (col + j) % kLine;
      for (int64_t k = 0; k < count; ++k) {
        hn::StoreU(LoadWeights(d, from + k * kLine), d, out + k * width + j);
      }
    }
  });
}

/// c = scale · c + bias, where the format has scales.
HWY_INLINE void ScaleTile(const GemmTile& t) {
  const Gemm& g = *t.product;
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t r = t.row; r < t.row + t.rows; ++r) {
    float* c = g.c + r * g.c_row;
    int64_t j = t.col;
    const auto bias = [&](int64_t at) { return g.bias == nullptr ? hn::Zero(d) : hn::LoadU(d, g.bias + at); };
    for (; j + lanes <= t.col + t.cols; j += lanes) {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, g.scale + j), hn::LoadU(d, c + j), bias(j)), d, c + j);
    }
    for (; j < t.col + t.cols; ++j) c[j] = std::fma(g.scale[j], c[j], g.bias == nullptr ? 0.0f : g.bias[j]);
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
