// Recording: what a context was asked to do in a stretch of code, kept to be done again with one call.
//
// On a GPU a token's step is hundreds of kernels of a few microseconds each: to ask for them one by one takes
// the host longer than they take the device. There a recording is a CUDA graph.
#pragma once

#include <functional>
#include <memory>

#include "kernels/base/context.h"

namespace natrix {
namespace cuda {

class Graph;

}  // namespace cuda

class Recording {
 public:
  /// Whether work of `ctx` can be recorded: where it is queued, on backend cuda.
  static bool possible(const Context& ctx) { return ctx.backend() == Backend::kCuda; }

  /// Calls `work`, which does nothing but be recorded: kernels and copies of `ctx` are kept with their sizes,
  /// their addresses and what they were given by value. It must neither wait for the device nor take memory
  /// from it or from the arena beyond the blocks that this has: RunError. Leaves no recording behind if
  /// `work` throws.
  Recording(Context& ctx, const std::function<void()>& work);

  /// Does it, after what `ctx` was asked for before; without waiting. What lay at the addresses is not looked
  /// after: Arena::generation() says whether those of the arena are still good.
  void run(Context& ctx) const;

 private:
  std::shared_ptr<cuda::Graph> graph_;
};

}  // namespace natrix
