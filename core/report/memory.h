// Resident memory of this process, as the kernel counts it (/proc/self/status); 0 where that cannot be read.
#pragma once

#include <cstdint>

namespace natrix {

int64_t resident_bytes();       // now
int64_t peak_resident_bytes();  // the highest so far

/// Starts the peak again from the present figure, where the kernel allows it.
void reset_peak_resident();

}  // namespace natrix
