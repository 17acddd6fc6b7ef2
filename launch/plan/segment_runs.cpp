#include "launch/plan/segment_runs.h"

#include <algorithm>
#include <numeric>

#include "core/sequence/revolve.h"

namespace natrix {
namespace {

class Sweeps {
 public:
  Sweeps(int64_t segments, int64_t slots) : segments_(segments), slots_(slots) {
    runs_.forward.assign(static_cast<size_t>(segments), 0);
    runs_.surveyed = runs_.forward;
  }

  void survey(bool record_last) {
    run(0, segments_, /*from_boundary=*/false);
    std::fill_n(runs_.surveyed.begin(), record_last ? segments_ - 1 : segments_, 1);
    if (segments_ > 1) keep(0, record_last ? segments_ - 1 : segments_, segments_);
  }

  void retrace(bool last_is_recorded) {
    for (int64_t s = segments_ - (last_is_recorded ? 2 : 1); s >= 0; --s) {
      if (!held_.empty() && held_.back() == s) {
        ++runs_.forward[static_cast<size_t>(s)];  // a replay: no carry travels
        held_.pop_back();
        continue;
      }
      const bool from_boundary = !held_.empty();
      const int64_t from = from_boundary ? held_.back() : 0;
      keep(from, s + 1, s);
      run(from, s + 1, from_boundary);
    }
    runs_.backward_segments += segments_;
  }

  void truncated() { run(0, segments_, /*from_boundary=*/false); }

  SegmentRuns take() { return std::move(runs_); }

 private:
  void run(int64_t first, int64_t last, bool from_boundary) {
    for (int64_t s = first; s < last; ++s) ++runs_.forward[static_cast<size_t>(s)];
    ++(from_boundary ? runs_.from_boundary : runs_.from_start);
    (from_boundary ? runs_.boundary_segments : runs_.start_segments) += last - first;
  }

  /// Boundaries that a sweep keeps which passes over the segments before `recorded`.
  void keep(int64_t first, int64_t last, int64_t recorded) {
    for (int64_t s : boundaries_to_keep(first, last, slots_ - static_cast<int64_t>(held_.size()))) {
      if (s < recorded) held_.push_back(s);
    }
    runs_.most_boundaries = std::max(runs_.most_boundaries, static_cast<int64_t>(held_.size()));
  }

  int64_t segments_, slots_;
  std::vector<int64_t> held_;  // boundaries, ascending
  SegmentRuns runs_;
};

}  // namespace

int64_t SegmentRuns::forward_total() const {
  return std::accumulate(forward.begin(), forward.end(), int64_t{0});
}

SegmentRuns count_segment_runs(int64_t segments, int64_t slots, GradientMode gradient, bool together) {
  const bool exact = gradient == GradientMode::kExact;
  Sweeps sweeps(segments, exact ? slots : 0);
  if (exact || together) sweeps.survey(/*record_last=*/!together);
  if (exact) {
    sweeps.retrace(/*last_is_recorded=*/!together);
  } else {
    sweeps.truncated();
  }
  return sweeps.take();
}

}  // namespace natrix
