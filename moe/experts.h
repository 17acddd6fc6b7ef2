// Experts: the MLPs of the experts that this process owns, as two grouped matrix products
// over rows sorted by expert.
//
//   hidden = rows W_in[e]ᵀ,   out = f(hidden) W_down[e]ᵀ      W_in stacks the gate on the up projection
#pragma once

#include <functional>
#include <span>

#include "core/layers/mlp.h"

namespace natrix {

class Experts {
 public:
  /// Experts [first, first + count). Their numbers appear in tensor names: prefix + "experts.<e>.".
  Experts(const ModelConfig& config, int64_t first, int64_t count, const std::string& prefix);

  /// Columns of `hidden`: F or 2F.
  int64_t hidden_width() const { return in_.shape[1]; }
  /// Called between products, so that the caller can advance operations that are in flight.
  using Between = std::function<void()>;
  /// rows [R, D] → out [R, D]. offsets has count + 1 values. Fills `hidden` [R, F or 2F], which backward
  /// needs besides the rows. Everything else that it allocates in the arena is scratch.
  void forward(Pass& pass, View rows, std::span<const int64_t> offsets, View hidden, View out,
               const Between& between) const;
  /// x [T, D], expert [T, k] → [T·k, D]: one row per choice. Only the device needs to know the experts. For
  /// few tokens, and without backward.
  View forward_chosen(Pass& pass, View x, View expert) const;
  /// dout → drows. Adds to the gradients of the experts that have rows.
  void backward(Pass& pass, View rows, View hidden, std::span<const int64_t> offsets, View dout, View drows,
                const Between& between);
  void visit(const ParamVisitor& visitor);

 private:
  MlpActivation activation_;
  Param in_, down_;  // [count, F or 2F, D] and [count, D, F]
};

}  // namespace natrix
