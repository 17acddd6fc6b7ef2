// CarryAxis: how carried states move between the ranks that share a sequence (parallel.cp).
#pragma once

#include "core/carry/carry_route.h"
#include "kernels/base/context.h"

namespace natrix {

class CarryAxis {
 public:
  virtual ~CarryAxis() = default;
  /// Where states come from and go to in the forward sweep.
  virtual CarryRoute& states() = 0;
  /// Where their gradients come from and go to in the backward sweep.
  virtual CarryRoute& gradients() = 0;
  /// The end states of rows that the ranks of the axis read together (CarryRoute::end_states), on the first
  /// rank of the axis, which goes on from them. Empty on the others.
  virtual CarryStates to_first(Context& ctx, const CarryStates& end) = 0;
  /// The states of all rows of a step, in order, on rank 0. Each first rank of an axis contributes those of
  /// its rows. Empty on every other rank.
  virtual CarryStates gather_rows(Context& ctx, const CarryStates& mine) = 0;
};

/// One rank holds every sequence whole.
class LocalCarry final : public CarryAxis {
 public:
  CarryRoute& states() override { return states_; }
  CarryRoute& gradients() override { return gradients_; }
  CarryStates to_first(Context&, const CarryStates& end) override { return copy_of(end); }
  CarryStates gather_rows(Context&, const CarryStates& mine) override { return copy_of(mine); }

 private:
  LocalRoute states_, gradients_;
};

}  // namespace natrix
