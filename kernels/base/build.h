// What this build holds. `if constexpr (build::kCuda)` keeps every mention of a part that is not built out of
// the program, so that it links without stubs.
#pragma once

namespace natrix::build {

inline constexpr bool kCuda = NATRIX_BUILD_CUDA != 0;

}  // namespace natrix::build
