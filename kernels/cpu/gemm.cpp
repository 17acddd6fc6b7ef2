// GEMM after Goto and van de Geijn (Anatomy of High-Performance Matrix Multiplication, 2008): threads share
// tiles of c; a tile packs its columns of op(b), a block of terms at a time, and a kernel multiplies them by
// rows of op(a), with a few rows by a few vectors of sums in registers. op(a) is read as it lies, where the
// terms of a row follow one another.
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

#include "kernels/cpu/gemm_pack-inl.h"
#include "kernels/cpu/gemm_packed-inl.h"
#include "kernels/cpu/gemm_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

// Sums in registers: 24 vectors of 32, or 12 of 16.
constexpr bool kManyRegisters = !HWY_ARCH_X86 || HWY_MAX_BYTES == 64;
constexpr int kVectors = kManyRegisters ? 3 : 2;
constexpr int kRows = kManyRegisters ? 8 : 6;

int64_t lanes() {
  return static_cast<int64_t>(hn::Lanes(Floats()));
}

/// A few rows of op(a), or terms of a panel of op(b): each starts `step` after the one before.
struct Panel {
  const float* data;
  int64_t step;
};

/// What a row's sums are multiplied by, each row's `apart` after the one before; null, they are not.
struct RowSteps {
  const float* data = nullptr;
  int64_t apart = 0;
};

/// R rows by W vectors of c (=, or += where `add`) Σ_k a[row][k] b[k][column].
template <int R, int W>
HWY_NOINLINE void Multiply(Panel a, Panel b, int64_t K, RowSteps steps, bool add, float* HWY_RESTRICT c,
                           int64_t c_row) {
  const Floats d;
  const int64_t n = lanes();
  Vector sum[R][W];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < W; ++v) {
      hwy::Prefetch(c + r * c_row + v * n);  // for the end: it was last touched a block of terms ago, if ever
      sum[r][v] = hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < K; ++k) {
    Vector b_k[W];
    for (int v = 0; v < W; ++v) b_k[v] = hn::LoadU(d, b.data + k * b.step + v * n);
    for (int r = 0; r < R; ++r) {
      const Vector a_kr = hn::Set(d, a.data[r * a.step + k]);
      for (int v = 0; v < W; ++v) sum[r][v] = hn::MulAdd(a_kr, b_k[v], sum[r][v]);
    }
  }
  if (steps.data != nullptr) {
    for (int r = 0; r < R; ++r) {
      const Vector step = hn::Set(d, steps.data[r * steps.apart]);
      for (int v = 0; v < W; ++v) sum[r][v] = hn::Mul(step, sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < W; ++v) {
      float* to = c + r * c_row + v * n;
      hn::StoreU(add ? hn::Add(hn::LoadU(d, to), sum[r][v]) : sum[r][v], d, to);
    }
  }
}

/// Rows of the kernel that serves so many.
int64_t KernelRows(int64_t rows) {
  return rows <= 2 ? rows : rows <= 4 ? 4 : kRows;
}

/// A part of c of at most kRows rows and kVectors vectors.
struct Block {
  int64_t rows, cols;
  RowSteps steps;
  bool add;
  float* c;
  int64_t c_row;
};

/// A block smaller than its kernel is computed beside c, and what is too much of it dropped.
template <int R, int W>
void MultiplyBlock(Panel a, Panel b, int64_t K, const Block& block) {
  const int64_t width = W * lanes();
  if (block.rows == R && block.cols == width) {
    return Multiply<R, W>(a, b, K, block.steps, block.add, block.c, block.c_row);
  }
  float sums[R * W * kMostLanes], steps[R] = {};
  RowSteps of_rows;
  if (block.steps.data != nullptr) {
    of_rows = {steps, 1};
    for (int64_t r = 0; r < block.rows; ++r) steps[r] = block.steps.data[r * block.steps.apart];
  }
  Multiply<R, W>(a, b, K, of_rows, /*add=*/false, sums, width);
  for (int64_t r = 0; r < block.rows; ++r) {
    for (int64_t j = 0; j < block.cols; ++j) {
      float& c = block.c[r * block.c_row + j];
      c = block.add ? c + sums[r * width + j] : sums[r * width + j];
    }
  }
}

template <int W>
void MultiplyRows(Panel a, Panel b, int64_t K, const Block& block) {
  switch (KernelRows(block.rows)) {
    case 1: return MultiplyBlock<1, W>(a, b, K, block);
    case 2: return MultiplyBlock<2, W>(a, b, K, block);
    case 4: return MultiplyBlock<4, W>(a, b, K, block);
    default: return MultiplyBlock<kRows, W>(a, b, K, block);
  }
}

void MultiplyAny(Panel a, Panel b, int64_t K, const Block& block) {
  if (block.cols <= lanes()) return MultiplyRows<1>(a, b, K, block);
  if (kVectors == 2 || block.cols <= 2 * lanes()) return MultiplyRows<2>(a, b, K, block);
  MultiplyRows<kVectors>(a, b, K, block);
}

/// Terms [first, first + count) of a tile, packed.
struct Terms {
  int64_t first, count;
};

int64_t PanelCols(const GemmTile& t, int64_t j) {
  return std::min(kVectors * lanes(), t.cols - j);
}

int64_t PanelWidth(int64_t cols) {
  return (cols + lanes() - 1) / lanes() * lanes();
}

/// Some terms of a tile's columns, cut into panels of kVectors vectors.
class Columns {
 public:
  /// Reads op(b) as it lies where the kernel can and packing would not repay itself, or packs into `room`.
  Columns(const GemmTile& t, Terms terms, float* room) : tile_(t), terms_(terms), room_(room) {
    if (as_it_lies()) return;
    t.product->packed == nullptr ? pack() : unpack();
  }

  /// Columns from j on.
  Panel panel(int64_t j) const {
    const Gemm& g = *tile_.product;
    if (!as_it_lies()) return {room_ + j * terms_.count, PanelWidth(PanelCols(tile_, j))};
    if (g.packed == nullptr) return {g.b + terms_.first * g.b_k + tile_.col + j, g.b_k};
    const char* panel = g.packed->weight->panel(g.packed->matrix, (tile_.col + j) / kPanelCols);
    return {reinterpret_cast<const float*>(panel) + terms_.first * kPanelCols, kPanelCols};
  }

 private:
  bool as_it_lies() const {
    constexpr int64_t kFewRows = 16;  // do not repay packing
    const Gemm& g = *tile_.product;
    if (g.packed != nullptr) {
      return g.packed->weight->format == WeightFormat::kF32 && kVectors * lanes() == kPanelCols;
    }
    return g.b_col == 1 && tile_.rows <= kFewRows && tile_.cols % lanes() == 0;
  }

  /// Where the rows of op(b) are contiguous, a few of them at a time across the tile: the longer a run of
  /// memory, the better it is fetched.
  void pack() const {
    const Gemm& g = *tile_.product;
    const int64_t step = g.b_col == 1 ? 8 : terms_.count;
    for (int64_t k = 0; k < terms_.count; k += step) {
      for (int64_t j = 0; j < tile_.cols; j += kVectors * lanes()) {
        const int64_t cols = PanelCols(tile_, j), width = PanelWidth(cols);
        Pack(g.b + (terms_.first + k) * g.b_k + (tile_.col + j) * g.b_col, g.b_col, g.b_k, cols,
             std::min(step, terms_.count - k), width, room_ + j * terms_.count + k * width);
      }
    }
  }

  void unpack() const {
    for (int64_t j = 0; j < tile_.cols; j += kVectors * lanes()) {
      Unpack(*tile_.product, tile_.col + j, terms_.first, terms_.count, PanelWidth(PanelCols(tile_, j)),
             room_ + j * terms_.count);
    }
  }

  const GemmTile& tile_;
  Terms terms_;
  float* room_;
};

/// Of so many rows, those that fill their kernels.
int64_t RowsAsTheyLie(int64_t rows) {
  const int64_t last = rows % kRows;
  return KernelRows(last) == last ? rows : rows - last;
}

/// Some rows of a tile, cut into panels of kRows; the last may have fewer.
class Strip {
 public:
  /// Reads op(a) as it lies, or packs into `room` what the kernel cannot: terms that are apart, and the last
  /// panel where its kernel reads more rows than there are.
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
  /// Rows from i on.
  Panel panel(int64_t i) const {
    return i < whole_ ? Panel{as_it_is_.data + i * as_it_is_.step, as_it_is_.step}
                      : Panel{packed_.data + (i - whole_) * packed_.step, packed_.step};
  }

 private:
  int64_t first_, rows_, whole_;
  Panel as_it_is_, packed_;
};

RowSteps StepsOf(const Gemm& g, int64_t row, int64_t k) {
  if (!g.scales()) return {};
  const int64_t blocks = RoundedActivations::blocks(g.K);
  return {g.packed->steps + row * blocks + k / RoundedActivations::kBlock, blocks};
}

void MultiplyStrip(const GemmTile& t, Terms terms, const Strip& strip, Panel b, int64_t j) {
  const Gemm& g = *t.product;
  for (int64_t i = 0; i < strip.rows(); i += kRows) {
    const int64_t row = t.row + strip.first() + i;
    MultiplyAny(strip.panel(i), b, terms.count,
                {.rows = std::min<int64_t>(kRows, strip.rows() - i),
                 .cols = PanelCols(t, j),
                 .steps = StepsOf(g, row, terms.first),
                 .add = t.adds(terms.first),
                 .c = g.c + row * g.c_row + t.col + j,
                 .c_row = g.c_row});
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
        MultiplyStrip(t, terms, strip, columns.panel(j), j);
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

/// Sets c where the first block of terms does not: to the bias, and to zero where there are no terms at all.
void prepare(const Gemm& g) {
  const float* bias = g.scales() ? nullptr : g.bias;  // else it comes after the scale
  if (bias == nullptr && (g.K > 0 || g.accumulate)) return;
  for (int64_t i = 0; i < g.M; ++i) {
    float* c = g.c + i * g.c_row;
    for (int64_t j = 0; j < g.N; ++j) {
      const float before = g.accumulate ? c[j] : 0.0f;
      c[j] = bias != nullptr ? before + bias[j] : before;
    }
  }
}

/// Multiply-adds, where a row counts as eight at least: it waits for op(b) to come from memory.
int64_t work_of(std::span<const Gemm> products) {
  int64_t work = 0;
  for (const Gemm& g : products) work += std::max<int64_t>(g.M, 8) * g.N * g.K;
  return work;
}

}  // namespace

void gemm(Context& ctx, std::span<const Gemm> products) {
  constexpr int64_t kWorthSharing = int64_t{1} << 19;  // some ten microseconds of one thread
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
