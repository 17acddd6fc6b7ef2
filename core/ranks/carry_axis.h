// CarryAxis: moves carried states between the ranks that share a sequence (parallel.cp).
#pragma once

#include "core/carry/carry_route.h"
#include "kernels/base/context.h"

namespace natrix {

class CarryAxis {
 public:
  virtual ~CarryAxis() = default;
  /// The route of states in the forward sweep.
  virtual CarryRoute& states() = 0;
  /// The route of their gradients in the backward sweep.
  virtual CarryRoute& gradients() = 0;
  /// Brings the end states of rows that the axis ran together (CarryRoute::end_states) to the first rank of
  /// the axis, which continues from them. The result is valid on that rank only.
  virtual CarryStates to_first(Context& ctx, const CarryStates& end) = 0;
  /// Gathers the states of all rows of a step on rank 0, in order. The first rank of each axis contributes
  /// the states of its rows. Empty on every other rank.
  virtual CarryStates gather_rows(Context& ctx, const CarryStates& mine) = 0;
};

/// One rank runs every sequence whole.
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
