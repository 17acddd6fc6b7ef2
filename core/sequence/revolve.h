// Which boundaries of a sequence to keep, when not all of them fit: the binomial schedule of Griewank and
// Walther (Algorithm 799: Revolve, ACM TOMS 26, 2000).
//
// A sequence of `length` segments is to be walked backwards; its first boundary is held, `slots` more can be.
// With β(s, t) = C(s + t, s), lengths up to β(slots, t) can be reversed while no segment is run forward more
// than t times (besides the run that records it for backward): 256 segments with 22 slots cost two extra
// forwards, with 10 three.
#pragma once

#include <cstdint>
#include <vector>

namespace natrix {

/// The longest sequence that `slots` slots reverse with at most
/// `repeats` forward runs of a segment; saturates.
int64_t reversible_length(int64_t slots, int64_t repeats);

/// Boundaries to keep on a forward run from `first` (held) on, when [first, last) is then reversed:
/// ascending, at most `slots` of them, each in (first, last).
std::vector<int64_t> boundaries_to_keep(int64_t first, int64_t last, int64_t slots);

}  // namespace natrix
