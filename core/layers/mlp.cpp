#include "core/layers/mlp.h"

#include "core/layers/scaled.h"

namespace natrix {

bool is_gated(MlpActivation a) {
  return a == MlpActivation::kSwiglu || a == MlpActivation::kGeglu;
}

Activation function_of(MlpActivation a) {
  switch (a) {
    case MlpActivation::kSwiglu: return Activation::kSilu;
    case MlpActivation::kGeglu:
    case MlpActivation::kGelu: return Activation::kGelu;
    case MlpActivation::kRelu2: return Activation::kRelu2;
  }
  contract_broken("unknown activation", std::source_location::current());
}

std::vector<std::string> input_projections(MlpActivation a) {
  return is_gated(a) ? std::vector<std::string>{"gate_proj", "up_proj"} : std::vector<std::string>{"up_proj"};
}

View activate(Pass& p, MlpActivation a, View hidden) {
  const int64_t width = hidden.cols() / (is_gated(a) ? 2 : 1);
  View out = p.arena().take(hidden.dtype, hidden.shape.with_last(width));
  activation_forward(p.ctx, {.f = function_of(a),
                             .x = hidden.columns(0, width),
                             .up = is_gated(a) ? hidden.columns(width, width) : View{},
                             .out = out});
  return out;
}

View activate_backward(Pass& p, MlpActivation a, View hidden, View dactivated) {
  const int64_t width = dactivated.cols();
  const bool gated = is_gated(a);
  View dhidden = p.arena().like(hidden);
  activation_backward(p.ctx, {.f = function_of(a),
                              .x = hidden.columns(0, width),
                              .up = gated ? hidden.columns(width, width) : View{},
                              .dout = dactivated,
                              .dx = dhidden.columns(0, width),
                              .dup = gated ? dhidden.columns(width, width) : View{}});
  return dhidden;
}

Mlp::Mlp(int64_t d_model, int64_t d_ff, MlpActivation activation, const std::string& prefix,
         double gate_multiplier)
    : activation_(activation),
      gate_multiplier_(is_gated(activation) ? gate_multiplier : 1),
      in_(prefix + "in", d_model, (is_gated(activation) ? 2 : 1) * d_ff, false),
      down_(prefix + "down_proj", d_ff, d_model, false, Init::kResidualOut) {
  in_.weight.parts.clear();
  for (const auto& name : input_projections(activation)) {
    in_.weight.parts.push_back({.name = prefix + name + ".weight",
                                .shape = {d_ff, d_model},
                                .first = static_cast<int64_t>(in_.weight.parts.size()) * d_ff * d_model});
  }
}

void Mlp::scale_gate(Pass& p, View hidden) const {
  scale_in_place(p, hidden.columns(0, hidden.cols() / 2), gate_multiplier_);
}

View Mlp::forward(Pass& p, View x) const {
  View hidden = in_.forward(p, x);
  if (gate_multiplier_ != 1) scale_gate(p, hidden);
  if (p.keeps()) p.saved.push(Saved{.x = x, .hidden = hidden});
  return down_.forward(p, activate(p, activation_, hidden));
}

View Mlp::backward(Pass& p, View dy) {
  const Saved s = p.saved.pop<Saved>();
  View dactivated = down_.backward(p, activate(p, activation_, s.hidden), dy);
  View dhidden = activate_backward(p, activation_, s.hidden, dactivated);
  if (gate_multiplier_ != 1) scale_gate(p, dhidden);
  return in_.backward(p, s.x, dhidden);
}

void Mlp::visit(const ParamVisitor& visitor) {
  in_.visit(visitor);
  down_.visit(visitor);
}

}  // namespace natrix
