// Parallel loops over the context's threads.
//
// Determinism: the split depends only on `count` and `grain`, never on the number of threads. A reduction
// keeps one partial result per block and adds the partial results in block order.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/base/context.h"

namespace natrix {

/// Splits [0, count) into consecutive ranges of at most `grain` and calls body(begin, end) for each, in any
/// order, on the context's threads. If a body throws, the exception is rethrown here after all bodies have
/// returned. Calls must not nest.
void parallel_for(Context& ctx, int64_t count, int64_t grain,
                  const std::function<void(int64_t, int64_t)>& body);

}  // namespace natrix
