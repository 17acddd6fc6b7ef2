// Linear: y = x Wᵀ + b, W [out, in] as PyTorch stores it.
#pragma once

#include "core/layers/layer.h"

namespace natrix {

class Linear {
 public:
  Linear() = default;
  /// The checkpoint names the tensors prefix + ".weight" and, if with_bias, prefix + ".bias".
  Linear(const std::string& prefix, int64_t in, int64_t out, bool with_bias, Init init = Init::kUniform);

  /// [.., in] → [.., out]. add_bias = false leaves the bias to a kernel that fuses it.
  View forward(Pass& pass, View x, bool add_bias = true) const;
  /// Like forward(), but the result is f32 if x is bf16.
  View forward_wide(Pass& pass, View x, bool add_bias = true) const;
  /// Returns dx and adds to the gradients. If `dx_into` is empty, dx is allocated like x. dy has the dtype of
  /// x. accumulate: adds to `dx_into` instead of overwriting it.
  View backward(Pass& pass, View x, View dy, View dx_into = {}, bool accumulate = false);
  /// Adds to the gradients of weight and bias only.
  void backward_weights(Pass& pass, View x, View dy);
  void visit(const ParamVisitor& visitor);

  Param weight, bias;

 private:
  View forward_into(Pass& pass, View x, View y, bool add_bias) const;

  bool has_bias_ = false;
};

/// A Param whose name and shape are those of the checkpoint.
Param make_param(std::string name, Shape shape, Init init, bool decays);

}  // namespace natrix
