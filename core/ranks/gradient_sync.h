// GradientSync: sums every gradient over the ranks that hold its parameter, while backward runs.
#pragma once

#include <vector>

#include "core/layers/param.h"
#include "kernels/base/context.h"

namespace natrix {

class GradientSync {
 public:
  virtual ~GradientSync() = default;

  /// Says that this rank adds nothing more to the gradients of params[first] and of all later parameters, so
  /// they may be sent while backward continues. Each call has a smaller `first` than the one before.
  virtual void ready(Context& ctx, const std::vector<Param*>& params, size_t first) = 0;
  /// Ends the step: returns when every gradient in owned() is its sum over the ranks that hold the parameter.
  virtual void finish(Context& ctx, const std::vector<Param*>& params) = 0;
  /// The gradients whose parameters this rank updates, as contiguous spans in ascending order. These are all
  /// gradients, or this rank's shard if ranks shard the optimizer's state (parallel.zero).
  virtual std::vector<View> owned(const std::vector<Param*>& params) = 0;
  /// Whether ranks shard the optimizer's state.
  virtual bool shards_updates() const = 0;
  /// All-gather after an update with sharded state: every rank gets the values that the owners computed.
  virtual void share_values(Context& ctx, const std::vector<Param*>& params) = 0;
  /// Combines per-rank partial sums over owned() gradients, such as their squared norm. Replicated parameters
  /// count once; sharded ones (Param::spread_of) are summed over their owners.
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

/// One rank: its gradients already are the sums.
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
