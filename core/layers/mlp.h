// Dense MLP: down(f(gate x) ⊙ up x) for gated activations, down(f(up x)) for the others.
#pragma once

#include "configs/schema/model.h"
#include "core/layers/linear.h"
#include "kernels/activation.h"

namespace natrix {

bool is_gated(MlpActivation activation);
Activation function_of(MlpActivation activation);
/// The names of the matrices that compute the hidden units: {gate_proj, up_proj} or {up_proj}.
std::vector<std::string> input_projections(MlpActivation activation);

/// hidden [R, F] → f(hidden), or hidden [R, 2F] → f(first half) ⊙ second half; the result is [R, F].
View activate(Pass& pass, MlpActivation activation, View hidden);
/// The gradient of activate() with respect to hidden.
View activate_backward(Pass& pass, MlpActivation activation, View hidden, View dactivated);

class Mlp final : public Layer {
 public:
  Mlp(int64_t d_model, int64_t d_ff, MlpActivation activation, const std::string& prefix,
      double gate_multiplier = 1);

  View forward(Pass& pass, View x) const override;
  bool leaves_behind(Visit) const override { return false; }
  View backward(Pass& pass, View dy) override;
  void visit(const ParamVisitor& visitor) override;

 private:
  struct Saved {
    View x, hidden;
  };
  void scale_gate(Pass& pass, View hidden) const;
  MlpActivation activation_;
  double gate_multiplier_;  // of the gate before its activation
  Linear in_, down_;        // in_ stacks the gate's rows on up's, so one product computes both
};

}  // namespace natrix
