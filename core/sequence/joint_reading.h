// JointReading: rows of tokens read by the ranks of the cp axis together, a super-segment of cp · chunk
// tokens at a time (core/ranks/rank_share.h), without keeping anything for backward.
// One process reads its chunks alone.
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
  /// Borrowed. chunk: tokens a row that a rank has in memory at once.
  JointReading(Model& model, Context& ctx, const Ranks& ranks, int64_t chunk);

  /// Whether rows of so many tokens have one for each rank, or what else a rank needs at least.
  bool can_share(int64_t length) const { return share_.cp > 1 && length >= fewest_; }
  /// Rows of `length` tokens, or of at least as many, come next, from these states; null: zero. Rows too
  /// short to share out are read by every rank of the axis alone.
  void begin(int64_t length, const CarryStates* start = nullptr);
  /// Tokens of the next super-segment where `left` are left. What remains afterwards, if anything, can be
  /// shared out, too: the last super-segment may be longer by a few tokens.
  int64_t next(int64_t left) const;
  /// This rank's part of the super-segment of `count` tokens from `first` on.
  RankShare::Stretch part(int64_t first, int64_t count) const { return reading_share().part(first, count); }
  /// Whether this rank's tokens are to be counted: false where another rank reads the same.
  bool counts() const { return together_ || share_.cp_rank == 0; }
  /// tokens, and where documents start, of this rank's part. last: of the row.
  void read(const Sequences& part, bool last, const std::function<void(View hidden)>& visit);
  /// The same for the states alone.
  void pass_over(const Sequences& part, bool last);
  /// Diagnosis: as SegmentSchedule::observe().
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
