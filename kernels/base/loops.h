// For code that computes in plain loops on the host instead of calling a kernel, such as a simple layer.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

/// Calls loops(), which reads and writes tensors of `ctx` on the host. A dry run only adds `cost` to the
/// ledger.
template <class F>
void run_loops(Context& ctx, const Cost& cost, F&& loops) {
  if (ctx.dry()) return ctx.ledger().add(cost);
  loops();
}

}  // namespace natrix
