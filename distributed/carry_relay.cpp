#include "distributed/carry_relay.h"

namespace natrix {

CarryRelay::CarryRelay(Communicator& axis, Context& ctx, Direction direction)
    : axis_(axis),
      ctx_(ctx),
      direction_(direction),
      place_(direction == Direction::kForward ? axis.rank() : axis.size() - 1 - axis.rank()),
      last_place_(axis.size() - 1),
      rows_(axis, ctx, /*first_ends=*/false) {
  require(axis.size() > 1, "a relay between ranks needs two of them");
}

int CarryRelay::peer(int place) const {
  const int wrapped = (place + axis_.size()) % axis_.size();
  return direction_ == Direction::kForward ? wrapped : axis_.size() - 1 - wrapped;
}

void CarryRelay::resume(const CarryStates* states) {
  origin_ = Origin::kStart;
  segment_ = -1;
  begin_ = states != nullptr && place_ == 0 ? copy_of(*states) : CarryStates();
  rows_.resume(states);
  leaving_.clear();
}

void CarryRelay::rejoin(const CarryStates& boundary) {
  origin_ = Origin::kBoundary;
  segment_ = -1;
  begin_ = copy_of(boundary);
  rows_.rejoin(boundary);
  leaving_.clear();
}

void CarryRelay::begin_segment(bool last) {
  ++segment_;
  rows_.begin_segment(last);
  last_ = last;
}

View CarryRelay::enter(CarryKey key, Dtype dtype, const Shape& shape, const std::function<SegmentMap()>&) {
  // Every rank kept the state with which it entered the first segment after a boundary.
  if (segment_ == 0 && (place_ == 0 || origin_ == Origin::kBoundary)) return begin_.at(key);
  entering_.make(key, dtype, shape, ctx_.memory());
  View state = entering_.at(key);
  axis_.receive(ctx_, state, peer(place_ - 1));
  return state;
}

void CarryRelay::leave(CarryKey key, View state) {
  if (place_ == last_place_) {
    if (last_) return leaving_.put(key, state);
  } else if (segment_ == 0 && origin_ == Origin::kBoundary) {
    return;
  }
  axis_.send(ctx_, state, peer(place_ + 1));
}

const CarryStates& CarryRelay::end_states() {
  require(last_, "the end states of a sweep that has not ended");
  if (axis_.rank() == last_place_) rows_.put_end(leaving_);
  return leaving_;
}

}  // namespace natrix
