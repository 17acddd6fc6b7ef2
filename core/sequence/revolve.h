// Chooses the boundaries of a sequence to keep when not all of them fit in memory. The schedule is binomial:
// Griewank and Walther, Algorithm 799: Revolve, ACM TOMS 26, 2000.
//
// Backward visits the segments of a sequence from the last to the first. The boundary before the first
// segment is always held; `slots` more can be. reversible_length(slots, t) is the longest sequence in which
// no segment runs forward more than t times, besides the pass that records it for backward. 256 segments
// need t = 2 with 22 slots, and t = 3 with 10.
#pragma once

#include <cstdint>
#include <vector>

namespace natrix {

/// The longest sequence, in segments, that `slots` slots can reverse with at most `repeats` forward runs of
/// each segment. Saturates at the largest int64_t.
int64_t reversible_length(int64_t slots, int64_t repeats);

/// The boundaries to keep on a forward run from boundary `first`, which is held, before the segments
/// [first, last) are reversed. Ascending, at most `slots`, each in (first, last).
std::vector<int64_t> boundaries_to_keep(int64_t first, int64_t last, int64_t slots);

}  // namespace natrix
