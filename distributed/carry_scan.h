// CarryScan: no rank waits for the state of another. Each rank summarises its slice as an affine map, all
// maps are gathered, and each rank applies the maps before its own to the state at the start of the
// super-segment: an exclusive prefix of affine maps. It costs one more pass over the slice (the summary) and
// one all-gather per state.
//
// A product of maps rounds differently from the steps that it replaces. Results equal those of the relay up
// to rounding, not bit for bit.
#pragma once

#include "core/carry/carry_route.h"
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
  History append(Context&, CarryKey key, const RowFormat& format, View rows) override {
    return rows_.append(key, format, rows);
  }
  History row_gradients(CarryKey key, const History& history) override {
    return rows_.row_gradients(key, history);
  }
  void collect(Context&, CarryKey key, const History& gradients, View rows) override {
    rows_.collect(key, gradients, rows);
  }

 private:
  View enter_dry(CarryKey key, Dtype dtype, const Shape& shape, int64_t decays);

  Communicator& axis_;
  Context& ctx_;
  int place_;
  bool reversed_;
  CarryStates begin_;     // entering states of the first segment, where known here
  CarryStates entering_;  // entering states of this rank
  SharedRows rows_;
  CarryStates start_, next_;  // before this super-segment and before the next; equal on all ranks
  bool first_ = false, boundary_ = false, fresh_ = false;
};

}  // namespace natrix
