// How often SegmentSchedule runs each segment of a micro-batch, and with carries from where: what
// recomputation, boundaries and the traffic of carries are counted from. Follows
// core/sequence/segment_schedule.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "configs/schema/experiment.h"

namespace natrix {

/// Of one micro-batch, on one rank.
struct SegmentRuns {
  std::vector<int64_t> forward;   // runs of each segment, one of them to run it backward after it
  std::vector<int64_t> surveyed;  // of these, those of sweep 1 that only pass over it: 1 or 0
  int64_t from_start = 0;         // sweeps that began at the first token,
  int64_t start_segments = 0;     // and the segments that they ran with carries from other segments or ranks
  int64_t from_boundary = 0;      // sweeps that began at a boundary that was held
  int64_t boundary_segments = 0;
  int64_t backward_segments = 0;  // that exchanged gradients of states
  int64_t most_boundaries = 0;    // held at once

  int64_t forward_total() const;
};

/// `slots`: boundaries that fit into sequence.boundary_memory. together: sweep 1 of all micro-batches ends
/// before any sweep 2 begins.
SegmentRuns count_segment_runs(int64_t segments, int64_t slots, GradientMode gradient, bool together);

}  // namespace natrix
