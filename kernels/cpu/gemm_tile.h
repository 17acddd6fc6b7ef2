// How products are cut into tiles. The threads of a context share the tiles.
#pragma once

#include <vector>

#include "kernels/cpu/gemm.h"

namespace natrix::cpu {

/// Terms that a sum keeps in registers. Changing it changes the bits of results.
inline constexpr int64_t kGemmBlock = 256;
/// The largest tile: a block of its packed columns takes 768 KB, a strip's packed rows 192
/// KB of the L2 cache.
inline constexpr int64_t kTileRows = 768, kTileCols = 768;
inline constexpr int64_t kStripRows = 192;
inline constexpr int64_t kMostVectors = 3, kMostLanes = 16;  // of a panel of op(b)

/// A part of c = op(a) op(b), for one thread.
struct GemmTile {
  const Gemm* product;
  int64_t row, rows, col, cols;

  /// Whether c already holds a value before terms from k on are added.
  bool adds(int64_t k) const {
    return k > 0 || product->accumulate || (product->bias != nullptr && !product->scales());
  }
};

std::vector<GemmTile> cut_into_tiles(std::span<const Gemm> products, int threads);

/// Buffers into which a worker packs operands.
struct GemmScratch {
  int64_t rows_floats = 0, cols_floats = 0;
  explicit GemmScratch(std::span<const GemmTile> tiles);
};

}  // namespace natrix::cpu
