// GEMM after Goto and van de Geijn (Anatomy of High-Performance Matrix Multiplication, 2008). Threads share
// tiles of c. For each block of terms a tile packs its columns of op(b) panel by panel; a kernel multiplies
// each panel by rows of op(a) (gemm_kernel-inl.h) while it prefetches the next panel. op(a) is read in place
// where the terms of a row are contiguous.
#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <atomic>

#include "kernels/base/parallel.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/gemm_kernel-inl.h"
#include "kernels/cpu/gemm_pack-inl.h"
#include "kernels/cpu/gemm_packed-inl.h"
#include "kernels/cpu/gemm_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

/// Terms [first, first + count) of a tile.
struct Terms {
  int64_t first, count;
};

int64_t PanelCols(const GemmTile& t, int64_t j) {
  return std::min(kVectors * lanes(), t.cols - j);
}

int64_t PanelWidth(int64_t cols) {
  return (cols + lanes() - 1) / lanes() * lanes();
}

/// A block of terms of a tile's columns, divided into panels of kVectors vectors.
class Columns {
 public:
  /// Reads op(b) in place where the kernel can and packing would not pay off. Otherwise packs into `room`.
  Columns(const GemmTile& t, Terms terms, float* room) : tile_(t), terms_(terms), room_(room) {}

  /// Call before panel(j) is read.
  void prepare(int64_t j) const {
    if (as_it_lies()) return;
    const Gemm& g = *tile_.product;
    const int64_t cols = PanelCols(tile_, j), width = PanelWidth(cols);
    float* to = room_ + j * terms_.count;
    if (g.packed != nullptr) return Unpack(g, tile_.col + j, terms_.first, terms_.count, width, to);
    Pack(at(terms_.first, j), g.b_col, g.b_k, cols, terms_.count, width, to);
  }

  /// The panel of columns from j on.
  ColPanel panel(int64_t j) const {
    const Gemm& g = *tile_.product;
    if (!as_it_lies()) return {room_ + j * terms_.count, PanelWidth(PanelCols(tile_, j))};
    if (g.packed == nullptr) return {at(terms_.first, j), g.b_k};
    const PackedWeight::Panel panel = g.packed->weight->panel(g.packed->matrix, (tile_.col + j) / kPanelCols);
    return {reinterpret_cast<const float*>(panel.line(terms_.first)), kPanelCols};
  }

  /// The part of op(b) to read after panel j has been multiplied by `rows` rows: the next panel, or the first
  /// panel of the next block of terms.
  Upcoming after(int64_t j, int64_t rows) const {
    const Gemm& g = *tile_.product;
    Terms terms = terms_;
    j += kVectors * lanes();
    if (j >= tile_.cols) {
      j = 0;
      terms = {terms_.first + terms_.count, std::min(terms_.count, g.K - terms_.first - terms_.count)};
    }
    if (terms.count == 0 || (g.packed == nullptr && as_it_lies())) return {};
    const int64_t cols = PanelCols(tile_, j),
                  times = (rows + kRows - 1) / kRows * Upcoming::times(terms_.count);
    if (g.packed != nullptr) {
      constexpr int64_t kBytes = sizeof(float);
      const PackedWeight& w = *g.packed->weight;
      const PackedWeight::Panel panel = w.panel(g.packed->matrix, (tile_.col + j) / kPanelCols);
      const auto* first = reinterpret_cast<const float*>(panel.line(terms.first / w.terms()));
      const int64_t lines = terms.count / w.terms(), panels = (cols + kPanelCols - 1) / kPanelCols;
      return w.terms() == 1 ? Upcoming(first, lines * kCacheLine, panels, w.panel_bytes() / kBytes, times)
                            : Upcoming(first, panels * kCacheLine, lines, panel.step / kBytes, times);
    }
    return g.b_col == 1 ? Upcoming(at(terms.first, j), cols, terms.count, g.b_k, times)
                        : Upcoming(at(terms.first, j), terms.count, cols, g.b_col, times);
  }

 private:
  const float* at(int64_t k, int64_t j) const {
    return tile_.product->b + k * tile_.product->b_k + (tile_.col + j) * tile_.product->b_col;
  }

  bool as_it_lies() const {
    constexpr int64_t kFewRows = 16;  // too few to pay for packing
    const Gemm& g = *tile_.product;
    if (g.packed != nullptr) {
      return g.packed->weight->format == WeightFormat::kF32 && kVectors * lanes() == kPanelCols;
    }
    return g.b_col == 1 && tile_.rows <= kFewRows && tile_.cols % lanes() == 0;
  }

  const GemmTile& tile_;
  Terms terms_;
  float* room_;
};

/// The number of leading rows that fill their kernels and so can be read in place.
int64_t RowsAsTheyLie(int64_t rows) {
  const int64_t last = rows % kRows;
  return KernelRows(last) == last ? rows : rows - last;
}

/// Some rows of a tile, divided into panels of kRows; the last may have fewer.
class Strip {
 public:
  /// Reads op(a) in place where the kernel can. Packs the rest into `room`: terms that are not contiguous,
  /// and the last panel if its kernel reads more rows than there are.
  Strip(const GemmTile& t, Terms terms, int64_t first, int64_t rows, float* room)
      : first_(first),
        rows_(rows),
        whole_(t.product->a_k == 1 ? RowsAsTheyLie(rows) : 0),
        as_it_is_{t.product->a + (t.row + first) * t.product->a_row + terms.first * t.product->a_k,
                  t.product->a_row},
        packed_{room, terms.count} {
    const Gemm& g = *t.product;
    const int64_t apart = rows - whole_;
    Pack(as_it_is_.data + whole_ * g.a_row, g.a_k, g.a_row, terms.count, apart, terms.count, room);
    std::fill_n(room + apart * terms.count, (KernelRows(apart % kRows) - apart % kRows) * terms.count, 0.0f);
  }

  int64_t first() const { return first_; }
  int64_t rows() const { return rows_; }
  /// The panel of rows from i on.
  RowPanel panel(int64_t i) const {
    return i < whole_ ? RowPanel{as_it_is_.data + i * as_it_is_.step, as_it_is_.step}
                      : RowPanel{packed_.data + (i - whole_) * packed_.step, packed_.step};
  }

 private:
  int64_t first_, rows_, whole_;
  RowPanel as_it_is_, packed_;
};

RowSteps StepsOf(const Gemm& g, int64_t row, int64_t k) {
  if (!g.scales()) return {};
  const int64_t blocks = RoundedActivations::blocks(g.K);
  return {g.packed->steps + row * blocks + k / RoundedActivations::kBlock, blocks};
}

void MultiplyStrip(const GemmTile& t, Terms terms, const Strip& strip, ColPanel b, int64_t j, Upcoming next) {
  const Gemm& g = *t.product;
  for (int64_t i = 0; i < strip.rows(); i += kRows) {
    const int64_t row = t.row + strip.first() + i;
    const Block block{.rows = std::min<int64_t>(kRows, strip.rows() - i),
                      .cols = PanelCols(t, j),
                      .steps = StepsOf(g, row, terms.first),
                      .add = t.adds(terms.first),
                      .c = g.c + row * g.c_row + t.col + j,
                      .c_row = g.c_row};
    MultiplyAny(strip.panel(i), b, terms.count, block, next);
  }
}

void MultiplyTile(const GemmTile& t, float* packed_rows, float* packed_cols) {
  const int64_t block = t.product->scales() ? RoundedActivations::kBlock : kGemmBlock;
  for (int64_t k = 0; k < t.product->K; k += block) {
    const Terms terms{k, std::min(block, t.product->K - k)};
    const Columns columns(t, terms, packed_cols);
    for (int64_t i = 0; i < t.rows; i += kStripRows) {
      const Strip strip(t, terms, i, std::min(kStripRows, t.rows - i), packed_rows);
      for (int64_t j = 0; j < t.cols; j += kVectors * lanes()) {
        Upcoming next;
        if (i == 0) {  // later strips find all panels packed
          columns.prepare(j);
          next = columns.after(j, strip.rows());
        }
        MultiplyStrip(t, terms, strip, columns.panel(j), j, next);
      }
    }
  }
}

void RunTile(const GemmTile& whole, float* packed_rows, float* packed_cols) {
  const Gemm& g = *whole.product;
  if (g.packed != nullptr && whole.rows == 1) {
    ForFormat(g.packed->weight->format, [&]<class Format>(Format) HWY_ATTR { StreamRow<Format>(whole); });
  } else {
    GemmTile rest = whole;
    const int64_t done = g.packed == nullptr ? MultiplyRow(whole) : 0;
    rest.col += done;
    rest.cols -= done;
    if (rest.cols > 0) MultiplyTile(rest, packed_rows, packed_cols);
  }
  if (g.scales()) ScaleTile(whole);
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(RunTile);

/// Initialises c before the first block of terms is added: to the bias, or to zero where there are no terms.
void prepare(const Gemm& g) {
  const float* bias = g.scales() ? nullptr : g.bias;  // otherwise the bias is added after the scale
  if (bias == nullptr && (g.K > 0 || g.accumulate)) return;
  for (int64_t i = 0; i < g.M; ++i) {
    float* c = g.c + i * g.c_row;
    for (int64_t j = 0; j < g.N; ++j) {
      const float before = g.accumulate ? c[j] : 0.0f;
      c[j] = bias != nullptr ? before + bias[j] : before;
    }
  }
}

/// Multiply-adds. A product with fewer than eight rows counts as eight, because it waits
/// for op(b) from memory.
int64_t work_of(std::span<const Gemm> products) {
  int64_t work = 0;
  for (const Gemm& g : products) work += std::max<int64_t>(g.M, 8) * g.N * g.K;
  return work;
}

}  // namespace

void gemm(Context& ctx, std::span<const Gemm> products) {
  constexpr int64_t kWorthSharing = int64_t{1} << 19;  // about ten microseconds of one thread
  for (const Gemm& g : products) prepare(g);
  const int threads = work_of(products) < kWorthSharing ? 1 : ctx.threads();
  const std::vector<GemmTile> tiles = cut_into_tiles(products, threads);
  const auto count = static_cast<int64_t>(tiles.size());
  const int64_t workers = std::min<int64_t>(threads, count);
  const GemmScratch size(tiles);
  Arena::Frame frame(ctx.arena());
  View packed_rows = ctx.arena().take(Dtype::kF32, {workers, (size.rows_floats + 15) / 16 * 16});
  View packed_cols = ctx.arena().take(Dtype::kF32, {workers, (size.cols_floats + 15) / 16 * 16});
  std::atomic<int64_t> next{0};
  parallel_for(ctx, workers, 1, [&](int64_t worker, int64_t) {
    for (int64_t i; (i = next.fetch_add(1)) < count;) {
      HWY_DYNAMIC_DISPATCH(RunTile)
      (tiles[static_cast<size_t>(i)], packed_rows.row<float>(worker), packed_cols.row<float>(worker));
    }
  });
}

}  // namespace natrix::cpu
#endif
