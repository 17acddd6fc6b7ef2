// CarryScan: ranks do not wait for each other's states. Each summarises its slice as the affine map that it
// is, all maps are gathered, and each rank applies those before it to the state at the start of the
// super-segment: an exclusive prefix of affine maps. One more pass over the slice (the summary) and one
// all-gather a state.
//
// A map's product rounds differently from the steps it stands for: equal to the relay's, but not bit for bit.
#pragma once

#include "core/sequence/carry_route.h"
#include "distributed/carry_relay.h"

namespace natrix {

class CarryScan final : public CarryRoute {
 public:
  /// `axis` and `ctx` are borrowed.
  CarryScan(Communicator& axis, Context& ctx, Direction direction);

  void resume(const CarryStates* states) override;
  void rejoin(const CarryStates& boundary) override;
  void begin_segment(bool last) override;
  const CarryStates& end_states() override;
  View enter(CarryKey key, Dtype dtype, const Shape& shape,
             const std::function<SegmentMap()>& summarise) override;
  void leave(CarryKey, View) override {}

 private:
  View enter_dry(CarryKey key, Dtype dtype, const Shape& shape, const SegmentMap& map);

  Communicator& axis_;
  Context& ctx_;
  int place_;
  bool reversed_;
  CarryStates begin_;         // what the first segment enters with, where that is known here
  CarryStates entering_;      // this rank's
  CarryStates start_, next_;  // of the super-segment in hand, and of the one after it: the same on every rank
  bool first_ = false, boundary_ = false, fresh_ = false;
};

}  // namespace natrix
