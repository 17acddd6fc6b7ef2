// Placement: says which ranks hold a parameter, and gathers a parameter that is sharded over several.
#pragma once

#include "core/layers/param.h"
#include "kernels/base/context.h"

namespace natrix {

class Placement {
 public:
  /// The index of this rank among the ranks that hold the same values of a parameter.
  struct Place {
    int64_t index = 0, count = 1;
  };

  virtual ~Placement() = default;
  virtual Place place(const Param& param) const = 0;
  /// Gathers the whole tensor of a sharded parameter on rank 0. `mine` is this rank's shard of the value or
  /// of the gradient. Empty on the other ranks. Collective.
  virtual Buffer whole(Context& ctx, const Param& param, View mine) = 0;
};

/// One rank holds everything.
class AllHere final : public Placement {
 public:
  Place place(const Param&) const override { return {}; }
  Buffer whole(Context&, const Param& param, View) override {
    require(param.spread_of == 0, "a parameter is spread over ranks, but there is only one rank");
    return {};
  }
};

}  // namespace natrix
