// CarryRelay: states handed from rank to rank along a sequence whose super-segments of P chunks are spread
// over the P ranks of the cp axis (core/train/rank_share.h).
//
//   forward    rank r waits for the state that rank r − 1 left in the same layer; rank 0 for that of
//              rank P − 1 one super-segment before
//   backward   the same in reverse: gradients travel from rank r to r − 1, and from rank 0 to rank P − 1
//              of the super-segment before
//
// No operation is added and none reordered, so outputs keep their bits. A rank lags behind the one before it
// by a layer, once in a sweep. Every boundary costs one message of the state's size.
#pragma once

#include "core/sequence/carry_route.h"
#include "distributed/communicator.h"

namespace natrix {

enum class Direction { kForward, kBackward };  // in time

class CarryRelay final : public CarryRoute {
 public:
  /// `axis` and `ctx` are borrowed.
  CarryRelay(Communicator& axis, Context& ctx, Direction direction);

  void resume(const CarryStates* states) override;
  void rejoin(const CarryStates& boundary) override;
  void begin_segment(bool last) override;
  const CarryStates& end_states() override;
  View enter(CarryKey key, Dtype dtype, const Shape& shape,
             const std::function<SegmentMap()>& summarise) override;
  void leave(CarryKey key, View state) override;

 private:
  int peer(int place) const;  // the rank at a place along the way

  Communicator& axis_;
  Context& ctx_;
  Direction direction_;
  int place_, last_place_;          // of this rank along the way that states travel
  CarryStates begin_;               // what the first segment enters with, where that is known here
  CarryStates entering_, leaving_;  // received; after the last segment
  enum class Origin { kStart, kBoundary } origin_ = Origin::kStart;
  int64_t segment_ = -1;  // since resume or rejoin
  bool last_ = false;
};

}  // namespace natrix
