// The few calls of cuBLAS that kernels/cuda makes, over the host's memory. Column-major, as there.
#pragma once

#include "cuda_runtime.h"

typedef struct CublasContext* cublasHandle_t;
enum cublasStatus_t {
  CUBLAS_STATUS_SUCCESS = 0,
  CUBLAS_STATUS_INVALID_VALUE = 7,
  CUBLAS_STATUS_EXECUTION_FAILED = 13,
  CUBLAS_STATUS_NOT_SUPPORTED = 15
};
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cublasMath_t { CUBLAS_DEFAULT_MATH = 0, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION = 16 };
enum cudaDataType { CUDA_R_32F = 0, CUDA_R_16BF = 14 };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68 };
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1 };

cublasStatus_t cublasCreate(cublasHandle_t* handle);
cublasStatus_t cublasDestroy(cublasHandle_t handle);
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream);
cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, size_t bytes);
const char* cublasGetStatusString(cublasStatus_t status);
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode);
cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                               int64_t m, int64_t n, int64_t k, const void* alpha, const void* a,
                               cudaDataType atype, int64_t lda, const void* b, cudaDataType btype,
                               int64_t ldb, const void* beta, void* c, cudaDataType ctype, int64_t ldc,
                               cublasComputeType_t compute, cublasGemmAlgo_t algorithm);
/// The arrays of pointers lie on the device.
cublasStatus_t cublasGemmBatchedEx_64(cublasHandle_t handle, cublasOperation_t transa,
                                      cublasOperation_t transb, int64_t m, int64_t n, int64_t k,
                                      const void* alpha, const void* const a[], cudaDataType atype,
                                      int64_t lda, const void* const b[], cudaDataType btype, int64_t ldb,
                                      const void* beta, void* const c[], cudaDataType ctype, int64_t ldc,
                                      int64_t count, cublasComputeType_t compute, cublasGemmAlgo_t algorithm);
/// The arrays of pointers lie on the device, all others with the host.
cublasStatus_t cublasGemmGroupedBatchedEx_64(cublasHandle_t handle, const cublasOperation_t transa[],
                                             const cublasOperation_t transb[], const int64_t m[],
                                             const int64_t n[], const int64_t k[], const void* alpha,
                                             const void* const a[], cudaDataType atype, const int64_t lda[],
                                             const void* const b[], cudaDataType btype, const int64_t ldb[],
                                             const void* beta, void* const c[], cudaDataType ctype,
                                             const int64_t ldc[], int64_t group_count,
                                             const int64_t group_size[], cublasComputeType_t compute);
