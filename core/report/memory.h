// Resident memory of this process, as the kernel counts it (/proc/self/status); 0 where that cannot be read.
#pragma once

#include <cstdint>

#include "kernels/base/context.h"

namespace natrix {

int64_t resident_bytes();       // now
int64_t peak_resident_bytes();  // the highest so far
/// What decides whether a run fits: the highest of the device's memory in use, where ctx computes on one.
int64_t peak_memory_bytes(const Context& ctx);

/// Starts the peak again from the present figure, where the kernel allows it.
void reset_peak_resident();

}  // namespace natrix
