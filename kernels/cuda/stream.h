// The stream of a context, for libraries that queue their own work on it. Declared in every build, defined
// where CUDA is built.
#pragma once

#include "kernels/base/context.h"

struct CUstream_st;  // cudaStream_t points to one

namespace natrix::cuda {

CUstream_st* stream_handle(const Context& ctx);
/// Devices that this process sees.
int device_count();

}  // namespace natrix::cuda
