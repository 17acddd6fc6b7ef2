// AdamW over a model's parameters. Weight decay applies to matrices only (Param::decays). Each rank keeps the
// state of the parameters that it updates (GradientSync::owned).
#pragma once

#include <string>
#include <vector>

#include "configs/schema/experiment.h"
#include "core/files/shards.h"
#include "core/layers/param.h"
#include "core/ranks/gradient_sync.h"
#include "kernels/base/buffer.h"
#include "kernels/base/context.h"

namespace natrix {

class Optimizer {
 public:
  /// `gradients` is borrowed. The parameters must be allocated.
  Optimizer(const OptimizerConfig& config, std::vector<Param*> params, GradientSync& gradients);

  /// The L2 norm of all gradients, including those of other ranks' parameters. Collective.
  double gradient_norm(Context& ctx) const;

  /// Clips by the given global norm and updates every parameter, on every rank.
  /// step counts from 1 (bias correction).
  void update(Context& ctx, double lr, double gradient_norm, int64_t step);

  /// The moments that this rank writes. "m.NAME" and "v.NAME" belong to a whole parameter. "m.NAME@i" is a
  /// shard whose first element is the i-th of the whole parameter. `written`: the parameters that this rank
  /// writes. If ranks shard updates, each rank writes its own shard instead.
  std::vector<NamedTensor> state(const std::vector<Param*>& written) const;
  /// Reads this rank's moments back, whichever ranks wrote them. InputError names a tensor that is missing or
  /// of another shape.
  void load_state(const StoredTensors& stored);
  int64_t bytes() const;

 private:
  /// A contiguous part of a parameter, and its state.
  struct Slot {
    Param* param;
    int64_t first;  // its first element in the parameter
    View value, grad, m, v;
    View rounded;  // part of Param::rounded; may be empty
  };

  OptimizerConfig config_;
  std::vector<Param*> params_;
  GradientSync& gradients_;
  std::vector<Buffer> moments_;
  std::vector<Slot> slots_;  // in the order of the parameters
};

}  // namespace natrix
