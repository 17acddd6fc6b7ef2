#include "core/layers/weights.h"

#include "kernels/embedding.h"
#include "kernels/matmul.h"
#include "kernels/packed_matmul.h"

namespace natrix {

void multiply(Context& ctx, View x, const Param& weight, View y, View bias) {
  if (weight.packed) return packed_matmul(ctx, {.a = x, .b = weight.packed, .c = y, .bias = bias});
  matmul(ctx, {.a = x, .b = operand(weight, x.dtype), .c = y, .bias = bias, .transpose_b = true});
}

void multiply_grouped(Context& ctx, View x, const Param& stack, std::span<const int64_t> offsets, View y) {
  if (stack.packed) return packed_matmul(ctx, {.a = x, .b = stack.packed, .c = y, .offsets = offsets});
  grouped_matmul(ctx,
                 {.a = x, .b = operand(stack, x.dtype), .c = y, .offsets = offsets, .transpose_b = true});
}

void multiply_chosen(Context& ctx, View x, const Param& stack, View expert, View y) {
  require(!stack.packed, "rows for chosen experts of a packed stack");
  chosen_matmul(ctx, {.a = x, .b = operand(stack, x.dtype), .expert = expert, .c = y});
}

void look_up(Context& ctx, View tokens, const Param& table, View y) {
  if (table.packed) return unpack_rows(table.packed, tokens, y);
  embedding_forward(ctx, {.tokens = tokens, .weight = table.value, .y = y});
}

}  // namespace natrix
