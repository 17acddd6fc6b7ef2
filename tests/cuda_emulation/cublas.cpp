#include <vector>

#include "cublas_v2.h"
#include "emulator.h"

struct CublasContext {};

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new CublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t, cudaStream_t) {
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_INVALID_VALUE ? "invalid value" : "execution failed";
}

cublasStatus_t cublasSgemm_64(cublasHandle_t, cublasOperation_t transa, cublasOperation_t transb, int64_t m,
                              int64_t n, int64_t k, const float* alpha, const float* a, int64_t lda,
                              const float* b, int64_t ldb, const float* beta, float* c, int64_t ldc) {
  const bool ta = transa == CUBLAS_OP_T, tb = transb == CUBLAS_OP_T;
  if (m < 0 || n < 0 || k < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m)
    return CUBLAS_STATUS_INVALID_VALUE;
  const cuda_emulation::DeviceAccess access;
  std::vector<float> column(static_cast<size_t>(m)), packed(static_cast<size_t>(ta ? m * k : 0));
  for (int64_t i = 0; ta && i < m; ++i) {  // so that the inner loop runs along columns
    for (int64_t l = 0; l < k; ++l) packed[static_cast<size_t>(l * m + i)] = a[i * lda + l];
  }
  const float* columns = ta ? packed.data() : a;
  const int64_t step = ta ? m : lda;
  for (int64_t j = 0; j < n; ++j) {
    column.assign(static_cast<size_t>(m), 0.0f);
    for (int64_t l = 0; l < k; ++l) {
      const float factor = tb ? b[l * ldb + j] : b[j * ldb + l];
      for (int64_t i = 0; i < m; ++i) column[static_cast<size_t>(i)] += factor * columns[l * step + i];
    }
    for (int64_t i = 0; i < m; ++i) {
      float& to = c[j * ldc + i];
      to = *alpha * column[static_cast<size_t>(i)] + (*beta == 0.0f ? 0.0f : *beta * to);
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}
