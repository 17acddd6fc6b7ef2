// GradientSync: every gradient becomes its sum over the ranks that hold the parameter, while backward runs.
#pragma once

#include <vector>

#include "core/layers/param.h"
#include "kernels/base/context.h"

namespace natrix {

class GradientSync {
 public:
  virtual ~GradientSync() = default;

  /// This rank adds nothing more to the gradients of params[first] and of those after it, so they may travel
  /// while backward goes on. Called with ever smaller `first`; finish() ends the step.
  virtual void ready(Context& ctx, const std::vector<Param*>& params, size_t first) = 0;
  /// Every gradient in owned() becomes its sum over the ranks that hold the parameter.
  virtual void finish(Context& ctx, const std::vector<Param*>& params) = 0;
  /// The gradients whose parameters this rank updates, as contiguous spans in ascending order: all of them,
  /// or this rank's shard where ranks shard the optimizer's state (parallel.zero).
  virtual std::vector<View> owned(const std::vector<Param*>& params) = 0;
  /// Whether ranks shard the optimizer's state.
  virtual bool shards_updates() const = 0;
  /// After an update with sharded state: every rank gets the values that the owners computed.
  virtual void share_values(Context& ctx, const std::vector<Param*>& params) = 0;
  /// Combines per-rank partial sums over owned() gradients, such as their squared norm: replicated parameters
  /// count once, those that are spread (Param::spread_of) are summed over their owners.
  virtual double norm(Context& ctx, double replicated, double spread) = 0;
};

/// One flat view for each parameter that has a gradient.
inline std::vector<View> gradients_of_each(const std::vector<Param*>& params) {
  std::vector<View> all;
  for (const Param* p : params) {
    if (p->grad) all.push_back(p->grad.reshaped({p->grad.count()}));
  }
  return all;
}

/// One rank: its gradients are the sums.
class LocalGradients : public GradientSync {
 public:
  void ready(Context&, const std::vector<Param*>&, size_t) override {}
  void finish(Context&, const std::vector<Param*>&) override {}
  std::vector<View> owned(const std::vector<Param*>& params) override { return gradients_of_each(params); }
  bool shards_updates() const override { return false; }
  void share_values(Context&, const std::vector<Param*>&) override {}
  double norm(Context&, double replicated, double spread) override { return replicated + spread; }
};

}  // namespace natrix
