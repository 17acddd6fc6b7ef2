#include "kernels/cpu/gemm_tile.h"

#include <algorithm>

namespace natrix::cpu {
namespace {

// Multiples of whole panels on every instruction set.
constexpr int64_t kRowUnit = 24, kColUnit = kMostVectors * kMostLanes;
constexpr int64_t kPackedColUnit = PackedWeight::kAbreast * PackedWeight::kPanelRows;
constexpr int64_t kSmallest = 96;      // rows or columns of a tile that is cut for more threads
constexpr int64_t kTilesOfThread = 4;  // at least; the other threads wait for one thread's last tile

int64_t parts(int64_t extent, int64_t most) {
  return (extent + most - 1) / most;
}

int64_t round_up(int64_t extent, int64_t unit) {
  return parts(extent, unit) * unit;
}

/// The extent of each of `count` equal parts, rounded up to whole units.
int64_t part_extent(int64_t extent, int64_t count, int64_t unit) {
  return extent == 0 ? unit : round_up(parts(extent, count), unit);
}

double work_of(const Gemm& g) {
  return static_cast<double>(g.M) * static_cast<double>(g.N) * static_cast<double>(g.K);
}

/// The number of parts into which rows and columns are cut.
struct Cut {
  int64_t rows, cols;
};

/// The cost of reading the operands: op(a) is read once per part of the columns, op(b) once per part of the
/// rows. To transpose an element costs more than to copy it; to read it in place costs little.
int64_t cost_of(const Gemm& g, const Cut& cut) {
  constexpr int64_t kAsItLies = 1, kCopied = 8, kTransposed = 12;
  const int64_t a = g.a_k == 1 ? kAsItLies : kTransposed;
  const int64_t b = g.packed != nullptr ? kAsItLies : g.b_col == 1 ? kCopied : kTransposed;
  return cut.cols * g.M * a + cut.rows * g.N * b;
}

/// The cheapest way to cut a product into tiles that fit the caches: `wanted` tiles or more if the
/// product is large enough.
Cut cheapest_cut(const Gemm& g, int64_t wanted) {
  // Half the columns leave c room in the L2 cache, and cost one more pass over op(a).
  const int64_t cols = g.a_k == 1 ? kTileCols / 2 : kTileCols;
  const Cut least{std::max<int64_t>(1, parts(g.M, kTileRows)), std::max<int64_t>(1, parts(g.N, cols))};
  const Cut most{std::max(least.rows, g.M / kSmallest), std::max(least.cols, g.N / kSmallest)};
  Cut best{most};
  for (int64_t rows = least.rows; rows <= most.rows; ++rows) {
    const Cut cut{rows, std::max(least.cols, parts(wanted, rows))};
    if (cut.cols <= most.cols && cost_of(g, cut) < cost_of(g, best)) best = cut;
    if (cut.cols == least.cols) break;  // more rows only cost more
  }
  return best;
}

}  // namespace

std::vector<GemmTile> cut_into_tiles(std::span<const Gemm> products, int threads) {
  double work = 0;
  for (const Gemm& g : products) work += work_of(g);
  std::vector<GemmTile> tiles;
  for (const Gemm& g : products) {
    const double share = work > 0 ? work_of(g) / work : 0;
    const Cut cut = cheapest_cut(
        g, threads == 1 ? 1 : static_cast<int64_t>(share * static_cast<double>(kTilesOfThread * threads)));
    const int64_t rows = part_extent(g.M, cut.rows, kRowUnit),
                  cols = part_extent(g.N, cut.cols, g.packed == nullptr ? kColUnit : kPackedColUnit);
    for (int64_t row = 0; row < g.M; row += rows) {
      for (int64_t col = 0; col < g.N; col += cols) {
        tiles.push_back({&g, row, std::min(rows, g.M - row), col, std::min(cols, g.N - col)});
      }
    }
  }
  return tiles;
}

GemmScratch::GemmScratch(std::span<const GemmTile> tiles) {
  for (const GemmTile& t : tiles) {
    const int64_t terms = std::min(kGemmBlock, t.product->K);
    rows_floats = std::max(rows_floats, terms * round_up(std::min(t.rows, kStripRows), kRowUnit));
    cols_floats = std::max(cols_floats, terms * round_up(t.cols, kColUnit));
  }
}

}  // namespace natrix::cpu
