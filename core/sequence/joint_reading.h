// JointReading: the ranks of the cp axis run the model together over rows of tokens, without backward. They
// run one super-segment of cp · chunk tokens at a time (core/ranks/rank_share.h).
//
//   reading.begin(length);
//   for (first = 0; first < length; first += n) {
//     n = reading.next(length - first);                       // tokens of this super-segment
//     reading.read(part(first, n), first + n == length, visit);
//   }
//
// All ranks of the axis make the same calls.
#pragma once

#include "core/ranks/ranks.h"
#include "core/sequence/segment_schedule.h"

namespace natrix {

class JointReading {
 public:
  /// All are borrowed. chunk: tokens of a row that a rank runs at once.
  JointReading(Model& model, Context& ctx, const Ranks& ranks, int64_t chunk);

  /// Whether rows of `length` tokens are long enough to give each rank the fewest tokens that it needs.
  bool can_share(int64_t length) const { return share_.cp > 1 && length >= fewest_; }
  /// Begins rows of at least `length` tokens, from these states (null: zero). If the rows are too short to
  /// share, every rank of the axis runs all of them.
  void begin(int64_t length, const CarryStates* start = nullptr);
  /// The number of tokens of the next super-segment when `left` tokens are left. If the rest after it could
  /// not be shared, the super-segment includes the rest, so the last one may be a few tokens longer.
  int64_t next(int64_t left) const;
  /// This rank's slice of the super-segment [first, first + count).
  RankShare::Stretch part(int64_t first, int64_t count) const { return reading_share().part(first, count); }
  /// Whether to count this rank's tokens: false if another rank runs the same ones.
  bool counts() const { return together_ || share_.cp_rank == 0; }
  /// Runs this rank's slice. `part` needs tokens and, if documents start in it, doc_start. last: the slice
  /// belongs to the row's last super-segment.
  void read(const Sequences& part, bool last, const std::function<void(View hidden)>& visit);
  /// Like read(), but only for the carried states.
  void pass_over(const Sequences& part, bool last);
  /// As SegmentSchedule::observe().
  void observe(const PassObserver* observer);

 private:
  SegmentSchedule& schedule() { return together_ ? joint_ : alone_; }
  RankShare reading_share() const { return together_ ? share_ : RankShare{}; }

  CarryAxis& carry_;
  RankShare share_;
  int64_t fewest_, chunk_;
  LocalRoute alone_route_;
  CutRoute no_gradients_;
  SegmentSchedule joint_, alone_;
  bool together_ = false;
};

}  // namespace natrix
