// The block formats of GGUF tensors: expanding any of them to f32, and packing f32 into some.
//
// A quantised block stands for 32 or 256 consecutive elements of a row. It holds small integers q and a scale
// d in half precision, some formats also an offset m:
//
//   Q8_0, Q4_0, Q5_0   x = d · q                     q of 8, 4 or 5 bits, signed
//   Q4_1, Q5_1         x = d · q + m                 q of 4 or 5 bits, unsigned
//   Q4_K, Q5_K         x = d · s_j · q − m · t_j     for each 32 elements j a scale s_j and an offset t_j of 6 bits
//   Q6_K               x = d · s_j · q               for each 16 elements j a scale s_j of 8 bits
#pragma once

#include <cstdint>

#include "core/gguf/gguf_types.h"

namespace natrix {

/// `count` elements, a multiple of the type's block, from `from` (of any alignment) to f32. The results are
/// those of ggml to the last bit.
void expand_blocks(GgufType type, const void* from, int64_t count, float* to);

/// Whether pack_blocks() writes this type: F32, F16, BF16, Q8_0 and Q4_K.
bool packs(GgufType type);

/// The other direction, to the nearest values of the type. F32, F16 and BF16 round to nearest, ties to even.
/// Q8_0 scales by a block's largest magnitude. Q4_K searches for the scales and offsets of the smallest squared
/// error (q4_k_search.h).
void pack_blocks(GgufType type, const float* from, int64_t count, void* to);

}  // namespace natrix
