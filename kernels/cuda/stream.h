// The stream of a context, for libraries that queue work on it. Declared in every build,
// defined where CUDA is built.
#pragma once

#include "kernels/base/context.h"

struct CUstream_st;  // cudaStream_t points to one

namespace natrix::cuda {

CUstream_st* stream_handle(const Context& ctx);
/// The number of devices that this process sees.
int device_count();

}  // namespace natrix::cuda
