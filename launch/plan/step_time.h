// How long a step takes: its counted work over the machine's figures, one term after another, for nothing
// overlaps but sums of gradients, with the last backward run of a segment, and rows of experts that travel in
// halves, with the experts that compute the other. docs/planning.md says what is counted.
#pragma once

#include "launch/plan/step_count.h"

namespace natrix {

/// Also sets the seconds of the communication's terms. InputError where ranks need a link that the machine
/// does not have, or it does not compute in the experiment's dtype. Longest first; terms without time are
/// left out.
std::vector<TimeTerm> estimate_time(const MeshShape& shape, StepCount& step, DeviceDtype dtype,
                                    const MachineConfig& machine);

/// A sweep whose states are relayed along `ranks`, and the seconds it takes.
struct RelaySweep {
  int64_t segments = 1, ranks = 1;
  double run = 0;     // of a segment on one rank, if it never waits
  double hop = 0;     // from entering a layer's scan to its state's arrival at the next rank
  int64_t group = 1;  // neighbours along the sequence that meet in a layer of experts,
  int64_t waits = 0;  // and how often in a run they come to it from a scan
  double seconds() const;
};

}  // namespace natrix
