// Resident memory of this process as the kernel counts it (/proc/self/status), or 0 if that cannot be read.
#pragma once

#include <cstdint>

#include "kernels/base/context.h"

namespace natrix {

int64_t resident_bytes();       // now
int64_t peak_resident_bytes();  // high-water mark
/// The high-water mark that decides whether a run fits: of the device's memory if ctx computes on a device,
/// else of resident memory.
int64_t peak_memory_bytes(const Context& ctx);

/// Resets the high-water mark to the present value, if the kernel allows it.
void reset_peak_resident();

}  // namespace natrix
