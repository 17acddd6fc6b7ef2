// Experts: the MLPs of the experts that this process owns, as two grouped matrix products over rows sorted by
// expert.
//
//   hidden = rows W_in[e]ᵀ,   out = f(hidden) W_down[e]ᵀ      with W_in the gate stacked over the up
//   projection
#pragma once

#include <span>

#include "core/layers/mlp.h"

namespace natrix {

class Experts {
 public:
  /// Experts [first, first + count); their numbers appear in the tensors' names, prefix + "experts.<e>.".
  Experts(const ModelConfig& config, int64_t first, int64_t count, const std::string& prefix);

  /// rows [R, D], offsets: count + 1 → [R, D]. `hidden` [R, F or 2F] is what backward needs besides the rows.
  View forward(Pass& pass, View rows, std::span<const int64_t> offsets, View& hidden) const;
  /// dout → drows; adds to the experts' gradients.
  View backward(Pass& pass, View rows, View hidden, std::span<const int64_t> offsets, View dout);
  void visit(const ParamVisitor& visitor);

 private:
  MlpActivation activation_;
  Param in_, down_;  // [count, F or 2F, D] and [count, D, F]
};

}  // namespace natrix
