// Recording: a captured sequence of kernels and copies that is replayed with one call. On a
// GPU it is a CUDA graph.
//
// A decoding step launches hundreds of kernels of a few microseconds each. Launching them one by one takes
// the host longer than running them takes the device.
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
  /// Whether work of `ctx` can be captured: only on backend cuda, where work is queued.
  static bool possible(const Context& ctx) { return ctx.backend() == Backend::kCuda; }

  /// Calls `work` with capture on: its kernels and copies are stored and not run. The capture keeps their
  /// sizes, addresses and arguments by value. Throws RunError if `work` waits for the device, or takes memory
  /// from it or from beyond the arena's present blocks. If `work` throws, nothing is captured.
  Recording(Context& ctx, const std::function<void()>& work);

  /// Replays the capture after earlier work of `ctx`, without waiting. The caller ensures that the addresses
  /// are still valid; for memory of the arena, they are while Arena::generation() is unchanged.
  void run(Context& ctx) const;

 private:
  std::shared_ptr<cuda::Graph> graph_;
};

}  // namespace natrix
