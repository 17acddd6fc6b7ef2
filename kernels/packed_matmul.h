// Products with packed weights, for inference: y = x Wᵀ [+ bias], and the same for a stack of matrices and
// rows sorted by expert. They correspond to matmul and grouped_matmul with transpose_b (kernels/matmul.h) and
// keep their contract: a row of c depends only on its row of a, bit for bit. With f32 weights the result has
// the bits of matmul. With int8 weights x is rounded first (kernels/packed_weight.h, RoundedActivations).
#pragma once

#include <span>

#include "kernels/packed_weight.h"

namespace natrix {

struct PackedMatmul {
  View a;          // [R, K]
  PackedWeight b;  // [N, K], or a stack [G, N, K]
  View c;          // [R, N] (=); must not alias a
  View bias;       // [N], optional; not with a stack
  /// For a stack: rows [offsets[g], offsets[g + 1]) use matrix g; G + 1 values from 0 to R. Otherwise empty.
  std::span<const int64_t> offsets = {};
};
void packed_matmul(Context& ctx, const PackedMatmul& args);
Cost cost(const PackedMatmul& args);

namespace reference {
void packed_matmul(Context& ctx, const PackedMatmul& args);
}
namespace cpu {
void packed_matmul(Context& ctx, const PackedMatmul& args);
}

}  // namespace natrix
