#include "kernels/cpu/gemm_tile.h"

#include <algorithm>

namespace natrix::cpu {
namespace {

// Whole panels, on every instruction set.
constexpr int64_t kRowUnit = 24, kColUnit = kMostVectors * kMostLanes;
constexpr int64_t kPackedColUnit = 64;  // the panels of a packed weight that are streamed side by side

int64_t parts(int64_t extent, int64_t most) {
  return (extent + most - 1) / most;
}

int64_t round_up(int64_t extent, int64_t unit) {
  return parts(extent, unit) * unit;
}

/// The extent of equal parts that are at most `most`, in whole units.
int64_t part_extent(int64_t extent, int64_t most, int64_t unit) {
  return extent == 0 ? unit : round_up(parts(extent, parts(extent, most)), unit);
}

struct TileLimits {
  int64_t rows = kTileRows, cols = kTileCols;

  int64_t tiles(std::span<const Gemm> products) const {
    int64_t n = 0;
    for (const Gemm& g : products) n += parts(g.M, rows) * parts(g.N, cols);
    return n;
  }
};

/// The larger the tiles, the less often operands are packed; the more tiles, the more evenly threads share
/// them.
TileLimits limits_for(std::span<const Gemm> products, int threads) {
  constexpr int64_t kSmallest = 96;
  TileLimits limits;
  while (threads > 1 && limits.rows > kSmallest && limits.tiles(products) < 4 * threads) {
    (limits.cols >= limits.rows ? limits.cols : limits.rows) /= 2;
  }
  return limits;
}

}  // namespace

std::vector<GemmTile> cut_into_tiles(std::span<const Gemm> products, int threads) {
  const TileLimits limits = limits_for(products, threads);
  std::vector<GemmTile> tiles;
  for (const Gemm& g : products) {
    const int64_t rows = part_extent(g.M, limits.rows, kRowUnit),
                  cols = part_extent(g.N, limits.cols, g.packed == nullptr ? kColUnit : kPackedColUnit);
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
