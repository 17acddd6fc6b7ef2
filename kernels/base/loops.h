// Loops of code that has no kernel of its own, such as a layer that computes on the host.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

/// Runs loops(), which reads and writes tensors of `ctx` on the host. A dry run adds `cost` instead.
template <class F>
void run_loops(Context& ctx, const Cost& cost, F&& loops) {
  if (ctx.dry()) return ctx.ledger().add(cost);
  loops();
}

}  // namespace natrix
