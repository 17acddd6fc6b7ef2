#include "core/layers/linear.h"

#include "core/layers/weights.h"
#include "kernels/matmul.h"

namespace natrix {

Param make_param(std::string name, Shape shape, Init init, bool decays) {
  Param p{.name = name, .shape = shape, .init = init, .fan_in = shape.cols(), .decays = decays};
  p.parts = {ParamPart{.name = std::move(name), .shape = shape}};
  return p;
}

Linear::Linear(const std::string& prefix, int64_t in, int64_t out, bool with_bias, Init init)
    : weight(make_param(prefix + ".weight", {out, in}, init, true)), has_bias_(with_bias) {
  weight.packs = weight.rounds = true;
  if (with_bias) bias = make_param(prefix + ".bias", {out}, Init::kZeros, false);
}

View Linear::forward(Pass& p, View x, bool add_bias) const {
  return forward_into(p, x, p.arena().take(x.dtype, x.shape.with_last(weight.shape[0])), add_bias);
}

View Linear::forward_wide(Pass& p, View x, bool add_bias) const {
  return forward_into(p, x, p.arena().take(wide(x.dtype), x.shape.with_last(weight.shape[0])), add_bias);
}

View Linear::forward_into(Pass& p, View x, View y, bool add_bias) const {
  multiply(p.ctx, x, weight, y, has_bias_ && add_bias ? bias.value : View{});
  return y;
}

View Linear::backward(Pass& p, View x, View dy, View dx_into, bool accumulate) {
  backward_weights(p, x, dy);
  View dx = dx_into ? dx_into : p.arena().take(x.dtype, x.shape);
  matmul(p.ctx, {.a = dy, .b = operand(weight, dy.dtype), .c = dx, .accumulate = accumulate});
  return dx;
}

void Linear::backward_weights(Pass& p, View x, View dy) {
  matmul(p.ctx,
         {.a = dy, .b = x, .c = weight.grad, .transpose_a = true, .accumulate = adds_to_gradient(weight)});
  if (has_bias_) column_sum(p.ctx, {.a = dy, .sum = bias.grad});
}

void Linear::visit(const ParamVisitor& visitor) {
  visitor(weight);
  if (has_bias_) visitor(bias);
}

}  // namespace natrix
