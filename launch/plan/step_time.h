// Estimates the time of a step: its counted work divided by the machine's rates. Terms are added up, because
// almost nothing overlaps. Two things do: sums of gradients overlap with the backward run of the last
// segment, and rows sent to experts overlap with the experts that compute the other half of the rows.
// docs/planning.md says what is counted.
#pragma once

#include "launch/plan/step_count.h"

namespace natrix {

/// Returns the terms that take time, longest first, and sets the seconds of the communication terms in
/// `step`. InputError if ranks need a link that the machine lacks, or if it cannot compute in the
/// experiment's dtype.
std::vector<TimeTerm> estimate_time(const MeshShape& shape, StepCount& step, DeviceDtype dtype,
                                    const MachineConfig& machine);

/// The time of a sweep whose states are relayed from rank to rank.
struct RelaySweep {
  int64_t segments = 1, ranks = 1;
  double run = 0;     // seconds of a segment on one rank that never waits
  double hop = 0;     // seconds from entering a layer's scan to the arrival of its state at the next rank
  int64_t group = 1;  // neighbours along the sequence that exchange rows with the same experts
  int64_t waits = 0;  // exchanges in a run that come after a scan, so that the group waits for its last rank
  double seconds() const;
};

}  // namespace natrix
