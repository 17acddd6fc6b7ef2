// AdamW over a model's parameters, with the usual two groups: matrices decay, everything else does not
// (Param::decays). Its state is that of the parameters which this rank updates (GradientSync::owned).
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
  /// `gradients` is borrowed. The parameters have their memory.
  Optimizer(const OptimizerConfig& config, std::vector<Param*> params, GradientSync& gradients);

  /// The L2 norm of all gradients together, those of parameters on other ranks too.
  double gradient_norm(Context& ctx) const;

  /// Clips by the given global norm and updates every parameter, on every rank.
  /// step counts from 1 (bias correction).
  void update(Context& ctx, double lr, double gradient_norm, int64_t step);

  /// What this rank writes of the moments. "m.NAME" and "v.NAME" are those of a whole parameter; what is
  /// shared out over ranks has stretches of its elements, from the i-th on, as "m.NAME@i". `written`:
  /// parameters that are this rank's to write; of shared updates each rank writes its own.
  std::vector<NamedTensor> state(const std::vector<Param*>& written) const;
  /// Reads this rank's share of them back, whoever wrote them. InputError naming the tensor if one is missing
  /// or of another shape.
  void load_state(const StoredTensors& stored);
  int64_t bytes() const;

 private:
  /// A stretch of a parameter, and its state.
  struct Slot {
    Param* param;
    int64_t first;  // element of the parameter
    View value, grad, m, v;
    View rounded;  // Param::rounded, where there is one
  };

  OptimizerConfig config_;
  std::vector<Param*> params_;
  GradientSync& gradients_;
  std::vector<Buffer> moments_;
  std::vector<Slot> slots_;  // in the order of the parameters
};

}  // namespace natrix
