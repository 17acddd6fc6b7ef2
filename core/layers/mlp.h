// Dense MLP: down(f(gate x) ⊙ up x) for gated activations, down(f(up x)) for the others. Multipliers may scale
// what f reads, and the output.
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
      double gate_multiplier = 1, double out_multiplier = 1);

  View forward(Pass& pass, View x) const override;
  bool leaves_behind(Visit) const override { return false; }
  View backward(Pass& pass, View dy) override;
  void visit(const ParamVisitor& visitor) override;

 private:
  struct Saved {
    View x, hidden;
  };
  /// The part of the hidden units, or of their gradient, that the activation reads.
  View gate_of(View hidden) const {
    return hidden.columns(0, hidden.cols() / (is_gated(activation_) ? 2 : 1));
  }

  MlpActivation activation_;
  double gate_multiplier_, out_multiplier_;
  Linear in_, down_;  // in_ stacks the gate's rows on up's, so one product computes both
};

}  // namespace natrix
