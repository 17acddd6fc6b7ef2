// What the parts of gemm.cpp share that does not depend on the instruction set.
#pragma once

#include "kernels/cpu/gemm.h"

namespace natrix::cpu {

inline constexpr int64_t kGemmBlock =
    256;  // terms that a sum keeps in registers: part of what decides its bits
inline constexpr int64_t kTileRows = 192;  // packed, a tile's rows stay in a second-level cache:
inline constexpr int64_t kPackedRowsFloats = kTileRows * kGemmBlock;  // 192 KB
inline constexpr int64_t kPanelFloats = kGemmBlock * 48;  // of op(b): up to three vectors of 16 floats wide
inline constexpr int64_t kRowsWorthPacking =
    16;  // for fewer rows a panel is read where it lies, if its rows are contiguous

/// A part of c = op(a) op(b), for one thread.
struct GemmTile {
  const Gemm* product;
  int64_t row, rows, col, cols;
};

/// Terms [begin, end) of a tile's rows: panels of kRows rows, each with up to `depth` terms.
struct PackedRows {
  float* data;
  int64_t depth, begin, end;
};

}  // namespace natrix::cpu
