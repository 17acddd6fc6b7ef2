// Placement: which ranks hold a parameter, and the whole of one that is spread over several.
#pragma once

#include "core/layers/param.h"
#include "kernels/base/context.h"

namespace natrix {

class Placement {
 public:
  /// This rank among those that hold the same values of a parameter.
  struct Place {
    int64_t index = 0, count = 1;
  };

  virtual ~Placement() = default;
  virtual Place place(const Param& param) const = 0;
  /// The whole tensor, value or gradient, of a parameter that is spread over ranks, on rank 0. Empty
  /// elsewhere. Collective.
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
