// SweepOrder: in which order the segments of one micro-batch run in a step of training, and where each run's
// carries come from. It knows neither model nor memory: a SegmentRunner does what it says (SegmentSchedule),
// or only counts it (the planner).
#pragma once

#include <cstdint>
#include <vector>

#include "core/layers/layer.h"

namespace natrix {

/// A forward run of a segment.
struct SegmentRun {
  /// What it enters with: the states at the first token; those of the segment before it, in a sweep that
  /// began there; those of a boundary that is held; of the segment before it, in a sweep that began at a
  /// boundary; or its own boundary, to be run again alone.
  enum class Entry { kStart, kAfterStart, kBoundary, kAfterBoundary, kReplay };

  int64_t segment = 0;
  Entry entry = Entry::kStart;
  Visit visit = Visit::kFirst;
  bool last = false;  // no other follows in this sweep
};

class SegmentRunner {
 public:
  virtual ~SegmentRunner() = default;
  /// For what it leaves behind. kept: its boundary is held from now on.
  virtual void pass_over(const SegmentRun& run, bool kept) = 0;
  /// Keeps all that backward needs.
  virtual void record(const SegmentRun& run) = 0;
  /// Backward of the segment that was recorded last. first: no gradient comes from the segment after it.
  virtual void backward(int64_t segment, bool first) = 0;
  /// The boundary that was held last is not needed any more.
  virtual void drop_boundary() = 0;
};

class SweepOrder {
 public:
  /// slots: boundaries that may be held, besides the start.
  SweepOrder(int64_t segments, int64_t slots, SegmentRunner& runner)
      : segments_(segments), slots_(slots), runner_(runner) {}

  /// Sweep 1. Leaves the boundaries that sweep 2 starts from and, if asked, the last segment recorded.
  void survey(bool record_last);
  /// Sweep 2: from the last segment to the first.
  void retrace();
  /// Instead of both: forward in time, each segment backward at once, no gradient across boundaries.
  void truncated(Visit visit);

  int64_t recomputed() const { return recomputed_; }  // forward runs of sweep 2

 private:
  void advance(int64_t last);
  void keep_boundaries(int64_t first, int64_t last);
  void pass_over(const SegmentRun& run);

  int64_t segments_, slots_;
  SegmentRunner& runner_;
  std::vector<int64_t> keep_;  // boundaries that the forward run in progress keeps, ascending
  std::vector<int64_t> held_;  // boundaries, ascending; the start is not among them
  bool recorded_ = false;
  int64_t recomputed_ = 0;
};

}  // namespace natrix
