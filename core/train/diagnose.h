// Where a NaN or an infinity came from, in words: for the message that ends a run.
#pragma once

#include <string>

#include "core/ranks/ranks.h"
#include "core/sequence/segment_schedule.h"

namespace natrix {

bool all_finite(View v);

/// Looks, in this order, for non-finite weights, for the first sublayer whose output is not finite when the
/// rows are run again, and for the non-finite gradient nearest to the loss. Collective: the place is the
/// earliest of all ranks', the same on each, and the words name its rank where there are several.
std::string locate_nonfinite(Model& model, Context& ctx, std::span<const Sequences> rows,
                             const SequenceConfig& sequence, const Ranks& ranks);

}  // namespace natrix
