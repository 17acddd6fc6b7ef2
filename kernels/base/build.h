// Optional parts of this build. `if constexpr (build::kCuda)` removes every mention of CUDA from a build
// without it, so the program links without stubs.
#pragma once

namespace natrix::build {

inline constexpr bool kCuda = NATRIX_BUILD_CUDA != 0;

}  // namespace natrix::build
