// GEMM with op(b) a packed weight (kernels/packed_weight.h). One row of a streams through the
// panels. For more rows, panels are unpacked into the buffer into which GEMM packs other operands.
// Both give the same bits: f32 and bf16 because the same terms are added in the same order, int8
// because sums of 64 terms are exact.

#if defined(NATRIX_KERNELS_CPU_GEMM_PACKED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_GEMM_PACKED_INL_H_
#undef NATRIX_KERNELS_CPU_GEMM_PACKED_INL_H_
#else
#define NATRIX_KERNELS_CPU_GEMM_PACKED_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <hwy/highway.h>

#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/prefetch.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Lanes32 = hn::ScalableTag<int32_t>;
using Words = hn::Vec<Lanes32>;  // lanes of a packed line
using Terms32 = hn::Vec<hn::ScalableTag<float>>;

inline constexpr int64_t kPanelCols = PackedWeight::kPanelRows;  // a row of W is a column of op(b)
inline constexpr int64_t kAbreast = PackedWeight::kAbreast;
inline constexpr int64_t kAheadLines = 128;  // of each panel; 32 KiB for four
inline constexpr int64_t kLaneVectors = kPanelCols / static_cast<int64_t>(hn::MaxLanes(Lanes32()));

HWY_INLINE Words LoadLanes(const char* line, int64_t vector) {
  const Lanes32 d;
  return hn::Load(d, reinterpret_cast<const int32_t*>(line) + vector * static_cast<int64_t>(hn::Lanes(d)));
}

/// How the lanes of a format are converted to f32.
struct F32Lanes {
  static constexpr int kTerms = 1;
  template <int kTerm>
  static HWY_INLINE Terms32 Term(Words w) {
    return hn::BitCast(hn::ScalableTag<float>(), w);
  }
};
struct BF16Lanes {
  static constexpr int kTerms = 2;
  template <int kTerm>
  static HWY_INLINE Terms32 Term(Words w) {
    const auto high = kTerm == 0 ? hn::ShiftLeft<16>(w) : hn::And(w, hn::Set(Lanes32(), ~0xffff));
    return hn::BitCast(hn::ScalableTag<float>(), high);
  }
};
struct Int8Lanes {
  static constexpr int kTerms = 4;
  template <int kTerm>
  static HWY_INLINE Words Integer(Words w) {
    return hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * kTerm>(w));
  }
  template <int kTerm>
  static HWY_INLINE Terms32 Term(Words w) {
    return hn::ConvertTo(hn::ScalableTag<float>(), Integer<kTerm>(w));
  }
};

template <class F>
HWY_INLINE void ForFormat(WeightFormat format, F&& f) {
  switch (format) {
    case WeightFormat::kF32: return f(F32Lanes());
    case WeightFormat::kBF16: return f(BF16Lanes());
    case WeightFormat::kInt8: return f(Int8Lanes());
  }
}

/// Panels of a packed weight that are read side by side, and the columns of c that they give.
struct Streams {
  PackedWeight::Panel first;
  int64_t apart;  // bytes between the lines of neighbouring panels
  float* c;
  bool add;

  const char* line(int64_t panel, int64_t l) const { return first.line(l) + panel * apart; }

  /// Prefetches line l + kAheadLines of P panels; past their end, of the panels that follow. For formats with
  /// several terms a lane: the work between two lines keeps some processors from prefetching by themselves.
  /// (f32 does not need it, and it slows some processors down.)
  template <int P>
  HWY_INLINE void Prefetch(int64_t l) const {
    for (int p = 0; p < P; ++p) prefetch_into_l2(line(p, l + kAheadLines));
  }

  /// c = or += the sum of a block of terms.
  void Store(int64_t panel, int64_t vector, bool adds, Terms32 sum) const {
    const hn::ScalableTag<float> d;
    float* to = c + panel * kPanelCols + vector * static_cast<int64_t>(hn::Lanes(d));
    hn::StoreU(adds ? hn::Add(hn::LoadU(d, to), sum) : sum, d, to);
  }
};

/// sum += the products of the line's terms kTerm, kTerm + 1, …; the line has `count` terms.
template <class Format, int kTerm = 0>
HWY_INLINE void AddLane(const float* a, int64_t count, Words w, Terms32& sum) {
  if constexpr (kTerm < Format::kTerms) {
    if (kTerm >= count) return;
    const hn::ScalableTag<float> d;
    sum = hn::MulAdd(hn::Set(d, a[kTerm]), Format::template Term<kTerm>(w), sum);
    AddLane<Format, kTerm + 1>(a, count, w, sum);
  }
}

/// One row of a times P panels, in f32.
template <class Format, int P>
HWY_NOINLINE void StreamFloats(const Gemm& g, int64_t row, const Streams& s) {
  constexpr int64_t kTerms = Format::kTerms;
  const float* a = g.a + row * g.a_row;
  for (int64_t block = 0; block < g.K; block += kGemmBlock) {
    const int64_t end = std::min(block + kGemmBlock, g.K), whole = end / kTerms * kTerms;
    Terms32 sum[P][kLaneVectors];
    for (auto& panel : sum) {
      for (auto& v : panel) v = hn::Zero(hn::ScalableTag<float>());
    }
    const auto add_line = [&](int64_t k, int64_t count) HWY_ATTR {
      if constexpr (kTerms > 1) s.template Prefetch<P>(k / kTerms);
      for (int p = 0; p < P; ++p) {
        for (int64_t v = 0; v < kLaneVectors; ++v) {
          AddLane<Format>(a + k, count, LoadLanes(s.line(p, k / kTerms), v), sum[p][v]);
        }
      }
    };
    for (int64_t k = block; k < whole; k += kTerms) add_line(k, kTerms);
    if (whole < end) add_line(whole, end - whole);
    for (int p = 0; p < P; ++p) {
      for (int64_t v = 0; v < kLaneVectors; ++v) s.Store(p, v, s.add || block > 0, sum[p][v]);
    }
  }
}

/// Four integers of a row, broadcast to every lane.
struct FourIntegers {
// One instruction multiplies 16-bit integers and adds pairs. EMU128 leaves half of each pair in its other sum;
// clang compiles that target, g++ 12 the scalar one.
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  Words even, odd;  // terms 0 and 2, 1 and 3, in sixteen bits each

  explicit HWY_INLINE FourIntegers(const int16_t* i) {
    const auto pair = [](int16_t low, int16_t high) {
      return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint16_t>(high)) << 16 |
                                  static_cast<uint16_t>(low));
    };
    even = hn::Set(Lanes32(), pair(i[0], i[2]));
    odd = hn::Set(Lanes32(), pair(i[1], i[3]));
  }

  HWY_INLINE Words AddTo(Words sum, Words w) const {
    const hn::Repartition<int16_t, Lanes32> d16;
    const auto bytes = hn::BitCast(d16, w);
    const auto w_even = hn::ShiftRight<8>(hn::ShiftLeft<8>(bytes)), w_odd = hn::ShiftRight<8>(bytes);
    Words unused = hn::Zero(Lanes32());
    sum = hn::ReorderWidenMulAccumulate(Lanes32(), hn::BitCast(d16, even), w_even, sum, unused);
    return hn::ReorderWidenMulAccumulate(Lanes32(), hn::BitCast(d16, odd), w_odd, sum, unused);
  }
#else
  Words term[4];

  explicit HWY_INLINE FourIntegers(const int16_t* i) {
    for (int t = 0; t < 4; ++t) term[t] = hn::Set(Lanes32(), i[t]);
  }

  HWY_INLINE Words AddTo(Words sum, Words w) const {
    sum = hn::Add(sum, hn::Mul(term[0], Int8Lanes::Integer<0>(w)));
    sum = hn::Add(sum, hn::Mul(term[1], Int8Lanes::Integer<1>(w)));
    sum = hn::Add(sum, hn::Mul(term[2], Int8Lanes::Integer<2>(w)));
    return hn::Add(sum, hn::Mul(term[3], Int8Lanes::Integer<3>(w)));
  }
#endif
};

/// One row of a times P panels of int8, in integers.
template <int P>
HWY_NOINLINE void StreamIntegers(const Gemm& g, const Streams& s) {
  constexpr int64_t kBlock = RoundedActivations::kBlock;
  const hn::ScalableTag<float> d;
  for (int64_t block = 0; block < g.K; block += kBlock) {
    Words sum[P][kLaneVectors];
    for (auto& panel : sum) {
      for (auto& v : panel) v = hn::Zero(Lanes32());
    }
    for (int64_t k = block; k < std::min(block + kBlock, g.K); k += 4) {
      s.template Prefetch<P>(k / 4);
      const FourIntegers integers(g.packed->integers + k);
      for (int p = 0; p < P; ++p) {
        for (int64_t v = 0; v < kLaneVectors; ++v) {
          sum[p][v] = integers.AddTo(sum[p][v], LoadLanes(s.line(p, k / 4), v));
        }
      }
    }
    const auto step = hn::Set(d, g.packed->steps[block / kBlock]);
    for (int p = 0; p < P; ++p) {
      for (int64_t v = 0; v < kLaneVectors; ++v) {
        s.Store(p, v, s.add || block > 0, hn::Mul(step, hn::ConvertTo(d, sum[p][v])));
      }
    }
  }
}

template <class Format, int P>
HWY_INLINE void Stream(const GemmTile& t, const Streams& s) {
  if constexpr (Format::kTerms == 4) {
    StreamIntegers<P>(*t.product, s);
  } else {
    StreamFloats<Format, P>(*t.product, t.row, s);
  }
}

/// Computes the columns of a tile of one row.
template <class Format>
void StreamRow(const GemmTile& t) {
  constexpr int64_t kTogether = kAbreast * kPanelCols;
  const Gemm& g = *t.product;
  const PackedWeight& w = *g.packed->weight;
  for (int64_t j = 0; j < t.cols; j += kTogether) {
    const int64_t cols = std::min(kTogether, t.cols - j);
    const int64_t panel = (t.col + j) / kPanelCols;
    Streams s{.first = w.panel(g.packed->matrix, panel),
              .apart = w.apart(),
              .c = g.c + t.row * g.c_row + t.col + j,
              .add = t.adds(0)};
    if (cols == kTogether) {
      Stream<Format, kAbreast>(t, s);
      continue;
    }
    float sums[kTogether];  // the last panel may have more lanes than columns
    float* c = s.c;
    std::copy_n(c, cols, sums);
    for (int64_t i = 0; i < cols; i += kPanelCols) {
      s.first = w.panel(g.packed->matrix, panel + i / kPanelCols);
      s.c = sums + i;
      Stream<Format, 1>(t, s);
    }
    std::copy_n(sums, cols, c);
  }
}

/// out[k · width] = term k of a vector of lanes, for the line's terms kTerm, kTerm + 1, …; the
/// line has `count` terms.
template <class Format, int kTerm = 0>
HWY_INLINE void UnpackLane(Words w, int64_t count, int64_t width, float* out) {
  if constexpr (kTerm < Format::kTerms) {
    if (kTerm >= count) return;
    hn::StoreU(Format::template Term<kTerm>(w), hn::ScalableTag<float>(), out + kTerm * width);
    UnpackLane<Format, kTerm + 1>(w, count, width, out);
  }
}

/// Unpacks terms [first, first + count) of columns [col, col + width) of the matrix: out[k * width + j].
/// `first` is the first term of a line.
HWY_INLINE void Unpack(const Gemm& g, int64_t col, int64_t first, int64_t count, int64_t width, float* out) {
  const PackedWeight& w = *g.packed->weight;
  const auto lanes = static_cast<int64_t>(hn::Lanes(Lanes32()));
  ForFormat(w.format, [&]<class Format>(Format) HWY_ATTR {
    constexpr int64_t kTerms = Format::kTerms;
    for (int64_t j = 0; j < width; j += lanes) {
      const PackedWeight::Panel panel = w.panel(g.packed->matrix, (col + j) / kPanelCols);
      const int64_t vector = (col + j) % kPanelCols / lanes;
      for (int64_t k = 0; k < count; k += kTerms) {
        const char* line = panel.line((first + k) / kTerms);
        UnpackLane<Format>(LoadLanes(line, vector), std::min(kTerms, count - k), width, out + k * width + j);
      }
    }
  });
}

/// c = scale · c + bias.
HWY_INLINE void ScaleTile(const GemmTile& t) {
  const Gemm& g = *t.product;
  const float* scale = g.packed->scale;
  for (int64_t r = t.row; r < t.row + t.rows; ++r) {
    float* c = g.c + r * g.c_row;
    for (int64_t j = t.col; j < t.col + t.cols; ++j) {
      c[j] = g.bias == nullptr ? scale[j] * c[j] : scale[j] * c[j] + g.bias[j];
    }
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
