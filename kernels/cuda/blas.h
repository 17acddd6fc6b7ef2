// The one call of cuBLAS: column-major, as cuBLAS has it. c = op(a) op(b) + beta c.
#pragma once

#include <cublas_v2.h>

#include "kernels/base/context.h"

namespace natrix::cuda {

void sgemm(Context& ctx, cublasOperation_t transa, cublasOperation_t transb, int64_t m, int64_t n, int64_t k,
           const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

}  // namespace natrix::cuda
