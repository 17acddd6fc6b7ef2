// Linear: y = x Wᵀ + b, W [out, in] as PyTorch stores it.
#pragma once

#include "core/layers/layer.h"

namespace natrix {

class Linear {
 public:
  Linear() = default;
  /// prefix: "….in_proj"; the checkpoint holds prefix.weight and, with_bias, prefix.bias.
  Linear(const std::string& prefix, int64_t in, int64_t out, bool with_bias, Init init = Init::kUniform);

  /// [.., in] → [.., out]. `bias` can be left to a kernel that fuses it.
  View forward(Pass& pass, View x, bool add_bias = true) const;
  /// The same in f32 where x is bf16.
  View forward_wide(Pass& pass, View x, bool add_bias = true) const;
  /// dx; adds to the gradients. An empty `dx_into` allocates one like x. dy in the dtype of x.
  View backward(Pass& pass, View x, View dy, View dx_into = {}, bool accumulate = false);
  /// Only the gradients of weight and bias.
  void backward_weights(Pass& pass, View x, View dy);
  void visit(const ParamVisitor& visitor);

  Param weight, bias;

 private:
  View forward_into(Pass& pass, View x, View y, bool add_bias) const;

  bool has_bias_ = false;
};

/// A Param that the checkpoint knows under its own name and shape.
Param make_param(std::string name, Shape shape, Init init, bool decays);

}  // namespace natrix
