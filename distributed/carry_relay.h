// CarryRelay: passes states from rank to rank along a sequence. The sequence is divided into super-segments
// of P chunks, one for each of the P ranks of the cp axis (core/ranks/rank_share.h).
//
//   forward    rank r waits for the state of rank r − 1 in the same layer; rank 0 for the state of rank P − 1
//              in the previous super-segment
//   backward   the reverse: gradients travel from rank r to rank r − 1, and from rank 0 to rank P − 1 of the
//              previous super-segment
//
// No operation is added or reordered, so outputs keep their bits. A rank runs one layer behind its
// predecessor; this delay occurs once per sweep. Each state passed on costs one message of the state's size.
#pragma once

#include "core/carry/carry_route.h"
#include "distributed/shared_rows.h"

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
  int peer(int place) const;  // the rank at a place along the way

  Communicator& axis_;
  Context& ctx_;
  Direction direction_;
  int place_, last_place_;          // of this rank, in the direction in which states travel
  CarryStates begin_;               // entering states of the first segment, where known here
  CarryStates entering_, leaving_;  // received; states after the last segment
  SharedRows rows_;
  enum class Origin { kStart, kBoundary } origin_ = Origin::kStart;
  int64_t segment_ = -1;  // counted from resume or rejoin
  bool last_ = false;
};

}  // namespace natrix
