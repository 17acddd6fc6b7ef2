// Parallel loops over the context's threads.
//
// Determinism: the split below depends on `count` and `grain` only, never on the number of threads; a
// reduction over parallel work keeps one partial result a block and adds the partials in order of the block.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/base/context.h"

namespace natrix {

/// Calls body(begin, end) for consecutive ranges of at most `grain` that cover [0, count), in any order, on
/// the context's threads. An exception from a body is rethrown here once all bodies have returned. Does not
/// nest.
void parallel_for(Context& ctx, int64_t count, int64_t grain,
                  const std::function<void(int64_t, int64_t)>& body);

}  // namespace natrix
