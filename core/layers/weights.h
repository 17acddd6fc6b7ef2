// Products with a parameter that is stored either as plain values or packed.
#pragma once

#include <span>

#include "core/layers/param.h"
#include "kernels/base/context.h"

namespace natrix {

/// y = x Wᵀ [+ bias]; x [R, in], W [out, in], y [R, out]. If x is bf16, y may be f32.
void multiply(Context& ctx, View x, const Param& weight, View y, View bias = {});
/// y = x Wᵀ, where W is the matrix of each row's expert. Rows are sorted by expert. See GroupedMatmul in
/// kernels/matmul.h.
void multiply_grouped(Context& ctx, View x, const Param& stack, std::span<const int64_t> offsets, View y);
/// One row of y per choice of an expert. The choices need not be sorted. The stack must not be packed. See
/// ChosenMatmul in kernels/matmul.h.
void multiply_chosen(Context& ctx, View x, const Param& stack, View expert, View y);
/// y[r] = W[tokens[r]].
void look_up(Context& ctx, View tokens, const Param& table, View y);

}  // namespace natrix
