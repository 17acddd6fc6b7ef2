// Products with packed weights, for reading: y = x Wᵀ [+ bias], and the same of a stack of matrices for rows
// sorted by expert. As matmul and grouped_matmul with transpose_b (kernels/matmul.h), and with their
// contract: a row of c depends on that row of a alone, to the last bit. In f32 the bits are those of matmul
// itself; with int8 weights x is rounded first (kernels/packed_weight.h, RoundedActivations).
#pragma once

#include <span>

#include "kernels/packed_weight.h"

namespace natrix {

struct PackedMatmul {
  View a;          // [R, K]
  PackedWeight b;  // [N, K], or a stack [G, N, K]
  View c;          // [R, N] (=); must not alias a
  View bias;       // [N], optional; not with a stack
  /// Of a stack: rows [offsets[g], offsets[g + 1]) meet matrix g; G + 1 values from 0 to R. Else empty.
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
