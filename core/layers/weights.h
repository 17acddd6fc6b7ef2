// Products with a parameter, whether it is stored as the checkpoint has it or packed for reading.
#pragma once

#include <span>

#include "core/layers/param.h"
#include "kernels/base/context.h"

namespace natrix {

/// y = x Wᵀ [+ bias]; x [R, in], W [out, in], y [R, out] (f32 if it likes, where x is bf16).
void multiply(Context& ctx, View x, const Param& weight, View y, View bias = {});
/// y = x Wᵀ of the matrix of each row's expert; rows are sorted by it (kernels/matmul.h, GroupedMatmul).
void multiply_grouped(Context& ctx, View x, const Param& stack, std::span<const int64_t> offsets, View y);
/// A row of y for each choice of an expert, in no order (kernels/matmul.h, ChosenMatmul).
/// Not of a packed stack.
void multiply_chosen(Context& ctx, View x, const Param& stack, View expert, View y);
/// y[r] = W[tokens[r]].
void look_up(Context& ctx, View tokens, const Param& table, View y);

}  // namespace natrix
