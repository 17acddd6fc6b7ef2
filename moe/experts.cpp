#include "moe/experts.h"

#include "core/layers/weights.h"
#include "kernels/matmul.h"

namespace natrix {

Experts::Experts(const ModelConfig& config, int64_t first, int64_t count, const std::string& prefix)
    : activation_(config.moe.activation) {
  const int64_t d = config.moe.latent.value_or(config.d_model), f = config.moe.d_ff;
  const auto inputs = input_projections(activation_);
  const auto halves = static_cast<int64_t>(inputs.size());
  in_ = make_param(prefix + "experts.in", {count, halves * f, d}, Init::kUniform, true);
  down_ = make_param(prefix + "experts.down", {count, d, f}, Init::kResidualOut, true);
  in_.packs = down_.packs = in_.rounds = down_.rounds = true;
  if (count < config.moe.num_experts) {
    for (Param* p : {&in_, &down_}) {
      p->spread_first = first;
      p->spread_of = config.moe.num_experts;
    }
  }
  in_.parts.clear();
  down_.parts.clear();
  for (int64_t e = 0; e < count; ++e) {
    const std::string expert = prefix + "experts." + std::to_string(first + e) + ".";
    for (int64_t h = 0; h < halves; ++h) {
      in_.parts.push_back({.name = expert + inputs[static_cast<size_t>(h)] + ".weight",
                           .shape = {f, d},
                           .first = (e * halves + h) * f * d});
    }
    down_.parts.push_back({.name = expert + "down_proj.weight", .shape = {d, f}, .first = e * d * f});
  }
}

void Experts::forward(Pass& p, View rows, std::span<const int64_t> offsets, View hidden, View out,
                      const Between& between) const {
  multiply_grouped(p.ctx, rows, in_, offsets, hidden);
  between();
  View activated = activate(p, activation_, hidden);
  between();
  multiply_grouped(p.ctx, activated, down_, offsets, out);
  between();
}

View Experts::forward_chosen(Pass& p, View x, View expert) const {
  View hidden = p.arena().take(x.dtype, {expert.count(), hidden_width()});
  multiply_chosen(p.ctx, x, in_, expert, hidden);
  View activated = activate(p, activation_, hidden);
  View out = p.arena().take(x.dtype, {expert.count(), x.cols()});
  multiply_chosen(p.ctx, activated, down_, expert, out);
  return out;
}

void Experts::backward(Pass& p, View rows, View hidden, std::span<const int64_t> offsets, View dout,
                       View drows, const Between& between) {
  View activated = activate(p, activation_, hidden);
  grouped_outer(p.ctx, {.a = dout,
                        .b = activated,
                        .c = down_.grad,
                        .offsets = offsets,
                        .accumulate = adds_to_gradient(down_)});
  between();
  View dactivated = p.arena().like(activated);
  grouped_matmul(p.ctx, {.a = dout, .b = operand(down_, dout.dtype), .c = dactivated, .offsets = offsets});
  between();
  View dhidden = activate_backward(p, activation_, hidden, dactivated);
  grouped_outer(
      p.ctx,
      {.a = dhidden, .b = rows, .c = in_.grad, .offsets = offsets, .accumulate = adds_to_gradient(in_)});
  between();
  grouped_matmul(p.ctx, {.a = dhidden, .b = operand(in_, dhidden.dtype), .c = drows, .offsets = offsets});
  between();
}

void Experts::visit(const ParamVisitor& visitor) {
  visitor(in_);
  visitor(down_);
}

}  // namespace natrix
