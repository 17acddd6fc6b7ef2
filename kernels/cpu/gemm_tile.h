// How products are cut into tiles, which the threads of a context share.
#pragma once

#include <vector>

#include "kernels/cpu/gemm.h"

namespace natrix::cpu {

inline constexpr int64_t kGemmBlock =
    256;  // terms that a sum keeps in registers: part of what decides its bits
inline constexpr int64_t kTileRows = 768, kTileCols = 768;   // at most: packed columns take 768 KB, a strip's
inline constexpr int64_t kStripRows = 192;                   // rows 192 KB of the second-level cache
inline constexpr int64_t kMostVectors = 3, kMostLanes = 16;  // of a panel of op(b)

/// A part of c = op(a) op(b), for one thread.
struct GemmTile {
  const Gemm* product;
  int64_t row, rows, col, cols;

  /// Whether c holds something before terms from k on are added.
  bool adds(int64_t k) const {
    return k > 0 || product->accumulate || (product->bias != nullptr && !product->scales());
  }
};

std::vector<GemmTile> cut_into_tiles(std::span<const Gemm> products, int threads);

/// What a worker packs operands into.
struct GemmScratch {
  int64_t rows_floats = 0, cols_floats = 0;
  explicit GemmScratch(std::span<const GemmTile> tiles);
};

}  // namespace natrix::cpu
