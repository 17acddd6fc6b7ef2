// GEMM after Goto and van de Geijn (Anatomy of High-Performance Matrix Multiplication, 2008): tiles of c run
// in parallel; a tile packs a block of op(a), then op(b) panel by panel, and a kernel multiplies the two with
// a few rows by a few vectors of sums in registers.
#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernels/base/parallel.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/gemm_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

using F32 = hn::ScalableTag<float>;
using Vector = hn::Vec<F32>;

// Sums in registers: 24 vectors of 32, or 12 of 16.
constexpr int kVectors = 3;
constexpr int kRows = !HWY_ARCH_X86 || HWY_MAX_BYTES == 64 ? 8 : 4;

int64_t lanes() {
  return static_cast<int64_t>(hn::Lanes(F32()));
}

/// R rows by W vectors of c (=, or += where `add`) Σ_k a[k][row] b[k][column].
template <int R, int W>
HWY_NOINLINE void Multiply(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, int64_t b_step,
                           int64_t K, bool add, float* HWY_RESTRICT c, int64_t c_row) {
  const F32 d;
  const int64_t n = lanes();
  Vector sum[R][W];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < W; ++v) {
      hwy::Prefetch(c + r * c_row + v * n);  // it was last touched a whole panel ago
      sum[r][v] = hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < K; ++k) {
    Vector b_k[W];
    for (int v = 0; v < W; ++v) {
      hwy::Prefetch(b + (k + 16) * b_step + v * n);
      b_k[v] = hn::LoadU(d, b + k * b_step + v * n);
    }
    for (int r = 0; r < R; ++r) {
      const Vector a_kr = hn::Set(d, a[k * R + r]);
      for (int v = 0; v < W; ++v) sum[r][v] = hn::MulAdd(a_kr, b_k[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < W; ++v) {
      float* to = c + r * c_row + v * n;
      hn::StoreU(add ? hn::Add(hn::LoadU(d, to), sum[r][v]) : sum[r][v], d, to);
    }
  }
}

/// Rows of the kernel that serves `rows` of them: a packed panel is that wide.
int64_t KernelRows(int64_t rows) {
  return rows <= 2 ? rows : rows <= 4 ? 4 : kRows;
}

/// A block of c: at most kRows rows and kVectors vectors.
struct Block {
  int64_t rows, cols;
  bool add;
  float* c;
  int64_t c_row;
};

/// Where the block is smaller than the kernel, the kernel writes beside it and the rest is dropped.
template <int R, int W>
void MultiplyBlock(const Block& block, const float* a, const float* b, int64_t b_step, int64_t K) {
  const int64_t width = W * lanes();
  if (block.rows == R && block.cols == width) {
    return Multiply<R, W>(a, b, b_step, K, block.add, block.c, block.c_row);
  }
  HWY_ALIGN float sums[R * W * HWY_MAX_BYTES / sizeof(float)];
  Multiply<R, W>(a, b, b_step, K, /*add=*/false, sums, width);
  for (int64_t r = 0; r < block.rows; ++r) {
    for (int64_t j = 0; j < block.cols; ++j) {
      float& c = block.c[r * block.c_row + j];
      c = block.add ? c + sums[r * width + j] : sums[r * width + j];
    }
  }
}

template <int W>
void MultiplyRows(const Block& block, const float* a, const float* b, int64_t b_step, int64_t K) {
  switch (KernelRows(block.rows)) {
    case 1: return MultiplyBlock<1, W>(block, a, b, b_step, K);
    case 2: return MultiplyBlock<2, W>(block, a, b, b_step, K);
    case 4: return MultiplyBlock<4, W>(block, a, b, b_step, K);
    default: return MultiplyBlock<kRows, W>(block, a, b, b_step, K);
  }
}

void MultiplyAny(const Block& block, const float* a, const float* b, int64_t b_step, int64_t K) {
  if (block.cols <= lanes()) return MultiplyRows<1>(block, a, b, b_step, K);
  if (block.cols <= 2 * lanes()) return MultiplyRows<2>(block, a, b, b_step, K);
  MultiplyRows<3>(block, a, b, b_step, K);
}

/// All rows of a tile times one panel of op(b), over terms [begin, end), which are packed in a.
void RunPanel(const GemmTile& t, const PackedRows& a, int64_t col, int64_t cols, float* packed_b) {
  const Gemm& g = *t.product;
  const int64_t width = (cols + lanes() - 1) / lanes() * lanes();
  for (int64_t k = a.begin; k < a.end; k += kGemmBlock) {
    const int64_t terms = std::min(kGemmBlock, a.end - k);
    const float* b = g.b + k * g.b_k + col * g.b_col;
    int64_t b_step = g.b_k;
    if (g.b_col != 1 || cols < width || t.rows > kRowsWorthPacking) {
      Pack(b, g.b_col, g.b_k, cols, terms, width, packed_b);
      b = packed_b;
      b_step = width;
    }
    for (int64_t i = 0; i < t.rows; i += kRows) {
      const int64_t rows = std::min<int64_t>(kRows, t.rows - i);
      const bool add = k > 0 || g.accumulate || g.bias != nullptr;
      const Block block{rows, cols, add, g.c + (t.row + i) * g.c_row + col, g.c_row};
      MultiplyAny(block, a.data + i * a.depth + (k - a.begin) * KernelRows(rows), b, b_step, terms);
    }
  }
}

void PackRows(const GemmTile& t, PackedRows& a) {
  const Gemm& g = *t.product;
  for (int64_t i = 0; i < t.rows; i += kRows) {
    const int64_t rows = std::min<int64_t>(kRows, t.rows - i);
    Pack(g.a + (t.row + i) * g.a_row + a.begin * g.a_k, g.a_row, g.a_k, rows, a.end - a.begin,
         KernelRows(rows), a.data + i * a.depth);
  }
}

void RunTile(const GemmTile& t, float* scratch) {
  const Gemm& g = *t.product;
  const int64_t padded_rows = (t.rows + kRows - 1) / kRows * kRows;
  const int64_t depth = kPackedRowsFloats / padded_rows / kGemmBlock * kGemmBlock;
  PackedRows a{scratch + kPanelFloats, depth, 0, 0};
  for (; a.begin < g.K; a.begin += depth) {
    a.end = std::min(a.begin + depth, g.K);
    PackRows(t, a);
    const int64_t panel = kVectors * lanes();
    for (int64_t j = 0; j < t.cols; j += panel)
      RunPanel(t, a, t.col + j, std::min(panel, t.cols - j), scratch);
  }
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(RunTile);

constexpr int64_t kTileCols = 384, kNarrowestTile = 48;  // whole panels on every instruction set

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// Columns of a tile: the wider, the less often op(a) is packed; the narrower, the more threads find work.
int64_t tile_cols(std::span<const Gemm> products, int threads) {
  const auto tiles = [&](int64_t cols) {
    int64_t n = 0;
    for (const Gemm& g : products) n += ceil_div(g.M, kTileRows) * ceil_div(g.N, cols);
    return n;
  };
  int64_t cols = kTileCols;
  while (cols > kNarrowestTile && threads > 1 && tiles(cols) < 4 * threads) cols /= 2;
  return cols;
}

std::vector<GemmTile> tiles_of(std::span<const Gemm> products, int threads) {
  const int64_t cols = tile_cols(products, threads);
  std::vector<GemmTile> tiles;
  for (const Gemm& g : products) {
    for (int64_t row = 0; row < g.M; row += kTileRows) {
      for (int64_t col = 0; col < g.N; col += cols) {
        tiles.push_back({&g, row, std::min(kTileRows, g.M - row), col, std::min(cols, g.N - col)});
      }
    }
  }
  return tiles;
}

/// c before the first block of terms.
void start(const Gemm& g) {
  if (g.bias == nullptr && (g.K > 0 || g.accumulate)) return;  // the kernel sets c, or finds it set
  for (int64_t i = 0; i < g.M; ++i) {
    float* c = g.c + i * g.c_row;
    for (int64_t j = 0; j < g.N; ++j)
      c[j] = (g.accumulate ? c[j] : 0.0f) + (g.bias != nullptr ? g.bias[j] : 0.0f);
  }
}

}  // namespace

void gemm(Context& ctx, std::span<const Gemm> products) {
  for (const Gemm& g : products) start(g);
  const std::vector<GemmTile> tiles = tiles_of(products, ctx.threads());
  const auto count = static_cast<int64_t>(tiles.size());
  const int64_t workers = std::min<int64_t>(ctx.threads(), count);
  Arena::Frame frame(ctx.arena());
  View scratch = ctx.arena().take(Dtype::kF32, {workers, kPanelFloats + kPackedRowsFloats});
  std::atomic<int64_t> next{0};
  parallel_for(ctx, workers, 1, [&](int64_t worker, int64_t) {
    for (int64_t i; (i = next.fetch_add(1)) < count;) {
      HWY_DYNAMIC_DISPATCH(RunTile)(tiles[static_cast<size_t>(i)], scratch.row<float>(worker));
    }
  });
}

}  // namespace natrix::cpu
#endif
