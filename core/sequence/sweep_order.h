// SweepOrder: the order in which a training step runs the segments of one micro-batch, and where each run's
// carried states come from. It calls a SegmentRunner for each run. The one of SegmentSchedule runs the model;
// the planner's only counts.
#pragma once

#include <cstdint>
#include <vector>

#include "core/layers/layer.h"

namespace natrix {

/// A forward run of a segment.
struct SegmentRun {
  /// Where the states that the run enters with come from.
  ///   kStart: the start of the sequence.
  ///   kAfterStart: the previous segment, in a sweep that began at the start.
  ///   kBoundary: a boundary that is held.
  ///   kAfterBoundary: the previous segment, in a sweep that began at a boundary.
  ///   kReplay: the segment's own boundary; the segment is run again alone.
  enum class Entry { kStart, kAfterStart, kBoundary, kAfterBoundary, kReplay };

  int64_t segment = 0;
  Entry entry = Entry::kStart;
  Visit visit = Visit::kFirst;
  bool last = false;  // the last run of its sweep
};

class SegmentRunner {
 public:
  virtual ~SegmentRunner() = default;
  /// Runs forward only for its side effects: carried states and the tally. kept: its boundary is
  /// held from now on.
  virtual void pass_over(const SegmentRun& run, bool kept) = 0;
  /// Runs forward and keeps what backward needs.
  virtual void record(const SegmentRun& run) = 0;
  /// Runs backward through the segment that was recorded last. first: no later segment sends it a gradient.
  virtual void backward(int64_t segment, bool first) = 0;
  /// Releases the boundary that was held last.
  virtual void drop_boundary() = 0;
};

class SweepOrder {
 public:
  /// slots: how many boundaries may be held at once, not counting the start.
  SweepOrder(int64_t segments, int64_t slots, SegmentRunner& runner)
      : segments_(segments), slots_(slots), runner_(runner) {}

  /// Sweep 1, forward. Keeps the boundaries that sweep 2 starts from. record_last: also records the last one.
  void survey(bool record_last);
  /// Sweep 2: backward through all segments, from the last to the first.
  void retrace();
  /// Replaces both sweeps: each segment runs forward and at once backward. No gradient crosses a boundary.
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
