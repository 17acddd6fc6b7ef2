// AdamW over a model's parameters, with the usual two groups: matrices decay, everything else does not
// (Param::decays). Its state is that of the parameters which this rank updates (RankGroup::owned_gradients).
#pragma once

#include <string>
#include <vector>

#include "configs/experiment.h"
#include "core/io/safetensors.h"
#include "core/layers/param.h"
#include "core/train/rank_group.h"
#include "kernels/base/buffer.h"
#include "kernels/base/context.h"

namespace natrix {

class Optimizer {
 public:
  /// `group` is borrowed. The parameters have their memory.
  Optimizer(const OptimizerConfig& config, std::vector<Param*> params, RankGroup& group);

  /// The L2 norm of all gradients together, those of parameters on other ranks too.
  double gradient_norm(Context& ctx) const;

  /// Clips by the given global norm and updates every parameter, on every rank. step counts from 1 (bias
  /// correction).
  void update(Context& ctx, double lr, double gradient_norm, int64_t step);

  /// The moments, as tensors named "m.<parameter>" and "v.<parameter>"; whole on rank 0, nothing elsewhere.
  struct State {
    std::vector<NamedTensor> tensors;
    std::vector<Buffer> gathered;  // memory of those that other ranks hold shares of
  };
  State state(Context& ctx) const;
  /// Reads this rank's share of them back. InputError naming the tensor if one is missing or of another
  /// shape.
  void load_state(const Safetensors& file);
  int64_t bytes() const;

 private:
  /// A stretch of a parameter, and its state.
  struct Slot {
    Param* param;
    int64_t first;  // element of the parameter
    View value, grad, m, v;
    View rounded;  // Param::rounded, where there is one
  };
  View moment_of(Context& ctx, const Param& param, View Slot::*moment, Buffer& made) const;

  OptimizerConfig config_;
  std::vector<Param*> params_;
  RankGroup& group_;
  std::vector<Buffer> moments_;
  std::vector<Slot> slots_;  // in the order of the parameters
};

}  // namespace natrix
