// Dense MLP:  down(f(gate x) ⊙ up x)  for the gated activations,  down(f(up x))  for the others.
#pragma once

#include "configs/schema/model.h"
#include "core/layers/linear.h"
#include "kernels/activation.h"

namespace natrix {

bool is_gated(MlpActivation activation);
Activation function_of(MlpActivation activation);
/// The names of the matrices that `width` rows of hidden units are read from:
/// {gate_proj, up_proj} or {up_proj}.
std::vector<std::string> input_projections(MlpActivation activation);

/// hidden [R, F or 2F] → f(hidden), or f(first half) ⊙ second half: [R, F].
View activate(Pass& pass, MlpActivation activation, View hidden);
/// The gradient of `activate` in hidden.
View activate_backward(Pass& pass, MlpActivation activation, View hidden, View dactivated);

class Mlp final : public Layer {
 public:
  Mlp(int64_t d_model, int64_t d_ff, MlpActivation activation, const std::string& prefix);

  View forward(Pass& pass, View x) const override;
  bool leaves_behind(Visit) const override { return false; }
  View backward(Pass& pass, View dy) override;
  void visit(const ParamVisitor& visitor) override;

 private:
  struct Saved {
    View x, hidden;
  };
  MlpActivation activation_;
  Linear in_, down_;  // in_ stacks gate over up: one product instead of two
};

}  // namespace natrix
