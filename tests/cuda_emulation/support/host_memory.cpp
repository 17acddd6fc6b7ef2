// Linked into tests whose kernels may touch the host's memory, as a GPU may what is pinned.
#include "cuda_runtime.h"

namespace {

[[maybe_unused]] const bool kAllowed = (cuda_emulation::allow_host_memory(true), true);

}  // namespace
