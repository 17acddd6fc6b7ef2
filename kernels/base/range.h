// Range: names a section of code in a GPU profile (nsys). Does nothing on the CPU.
#pragma once

#include "kernels/base/build.h"
#include "kernels/base/context.h"

namespace natrix {
namespace cuda {  // defined where CUDA is built

/// Opens a named range in a profile (NVTX). It costs almost nothing without a profiler. Ranges nest.
void begin_range(const char* name);
void end_range();

}  // namespace cuda

class Range {
 public:
  Range(const Context& ctx, const char* name) : seen_(build::kCuda && ctx.backend() == Backend::kCuda) {
    if constexpr (build::kCuda) {
      if (seen_) cuda::begin_range(name);
    }
  }
  ~Range() {
    if constexpr (build::kCuda) {
      if (seen_) cuda::end_range();
    }
  }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  bool seen_;
};

}  // namespace natrix
