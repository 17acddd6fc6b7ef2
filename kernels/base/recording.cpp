#include "kernels/base/recording.h"

#include "kernels/base/build.h"
#include "kernels/cuda/graph.h"

namespace natrix {

Recording::Recording(Context& ctx, const std::function<void()>& work) {
  require(possible(ctx), "work of this backend cannot be recorded");
  if constexpr (build::kCuda) graph_ = cuda::record(ctx, work);
}

void Recording::run(Context& ctx) const {
  if constexpr (build::kCuda) cuda::run(ctx, *graph_);
}

}  // namespace natrix
