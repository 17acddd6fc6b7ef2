// How element-wise CPU kernels are divided among threads.
#pragma once

#include <algorithm>

#include "kernels/base/parallel.h"

namespace natrix::cpu {

/// Elements per block: a few microseconds of work, well above the cost of handing out a block. A decoding
/// step therefore stays on its thread.
inline constexpr int64_t kElementsABlock = 16384;

/// Rows per block, for rows of `cols` elements.
inline int64_t rows_a_block(int64_t cols) {
  return std::max<int64_t>(1, kElementsABlock / std::max<int64_t>(1, cols));
}

inline void require_f32(View v, const char* what) {
  require(v.dtype == Dtype::kF32, what);
}

}  // namespace natrix::cpu
