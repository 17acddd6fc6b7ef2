// Column-major products in plain loops over f32, whatever the operands are stored in.
#include <array>
#include <cstring>
#include <vector>

#include "cublas_v2.h"
#include "emulator.h"

struct CublasContext {
  cudaStream_t stream = nullptr;
};

namespace {

/// Element i of an array of floats or of their upper halves.
struct Elements {
  const void* data;
  cudaDataType type;

  float operator[](int64_t i) const {
    if (type == CUDA_R_32F) return static_cast<const float*>(data)[i];
    const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(data)[i]) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
};

void store(void* c, cudaDataType type, int64_t i, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(c)[i] = value;
    return;
  }
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t nearest = value != value ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
  static_cast<uint16_t*>(c)[i] = static_cast<uint16_t>(nearest >> 16);
}

/// op(matrix) [rows, cols], column after column.
std::vector<float> columns_of(const Elements& matrix, int64_t leading, bool transposed, int64_t rows,
                              int64_t cols) {
  std::vector<float> packed(static_cast<size_t>(rows * cols));
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) {
      packed[static_cast<size_t>(c * rows + r)] = matrix[transposed ? r * leading + c : c * leading + r];
    }
  }
  return packed;
}

/// The dtypes that cuBLAS documents for CUBLAS_COMPUTE_32F, of those that exist here.
bool supported(cudaDataType a, cudaDataType b, cudaDataType c) {
  return a == b && (a == c || (a == CUDA_R_16BF && c == CUDA_R_32F));
}

/// What a product is but for where its operands lie.
struct Product {
  bool ta, tb;
  int64_t m, n, k, lda, ldb, ldc;
  cudaDataType atype, btype, ctype;
  float scale, keep;

  Product(cublasOperation_t transa, cublasOperation_t transb, std::array<int64_t, 3> extents,
          std::array<int64_t, 3> leading, std::array<cudaDataType, 3> types, const void* alpha,
          const void* beta)
      : ta(transa == CUBLAS_OP_T),
        tb(transb == CUBLAS_OP_T),
        m(extents[0]),
        n(extents[1]),
        k(extents[2]),
        lda(leading[0]),
        ldb(leading[1]),
        ldc(leading[2]),
        atype(types[0]),
        btype(types[1]),
        ctype(types[2]),
        scale(*static_cast<const float*>(alpha)),
        keep(*static_cast<const float*>(beta)) {}

  cublasStatus_t check() const {
    if (m < 0 || n < 0 || k < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m)
      return CUBLAS_STATUS_INVALID_VALUE;
    return supported(atype, btype, ctype) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
  }

  void multiply(const void* a, const void* b, void* c) const {
    const cuda_emulation::DeviceAccess access;
    const std::vector<float> left = columns_of({a, atype}, lda, ta, m, k);
    const Elements right{b, btype}, before{c, ctype};
    std::vector<float> column(static_cast<size_t>(m));
    for (int64_t j = 0; j < n; ++j) {
      column.assign(static_cast<size_t>(m), 0.0f);
      for (int64_t l = 0; l < k; ++l) {
        const float factor = right[tb ? l * ldb + j : j * ldb + l];
        const float* from = left.data() + l * m;
        for (int64_t i = 0; i < m; ++i) column[static_cast<size_t>(i)] += factor * from[i];
      }
      for (int64_t i = 0; i < m; ++i) {
        const float sum = scale * column[static_cast<size_t>(i)];
        store(c, ctype, j * ldc + i, keep == 0.0f ? sum : sum + keep * before[j * ldc + i]);
      }
    }
  }
};

/// Hardware would read what lies at that address.
bool on_device(const void* a, const void* b, const void* c) {
  using cuda_emulation::is_device_memory;
  return is_device_memory(a) && is_device_memory(b) && is_device_memory(c);
}

template <class F>
cublasStatus_t run_or_keep(cublasHandle_t handle, F run) {
  const auto work = [run] {
    run();
    return cudaSuccess;
  };
  if (!cuda_emulation::keep_for_graph(handle->stream, work)) run();
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new CublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t, void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_INVALID_VALUE   ? "invalid value"
         : status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported"
                                                 : "execution failed";
}

cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                               int64_t m, int64_t n, int64_t k, const void* alpha, const void* a,
                               cudaDataType atype, int64_t lda, const void* b, cudaDataType btype,
                               int64_t ldb, const void* beta, void* c, cudaDataType ctype, int64_t ldc,
                               cublasComputeType_t, cublasGemmAlgo_t) {
  const Product p(transa, transb, {m, n, k}, {lda, ldb, ldc}, {atype, btype, ctype}, alpha, beta);
  if (const cublasStatus_t status = p.check(); status != CUBLAS_STATUS_SUCCESS) return status;
  return run_or_keep(handle, [=] { p.multiply(a, b, c); });
}

cublasStatus_t cublasGemmBatchedEx_64(cublasHandle_t handle, cublasOperation_t transa,
                                      cublasOperation_t transb, int64_t m, int64_t n, int64_t k,
                                      const void* alpha, const void* const a[], cudaDataType atype,
                                      int64_t lda, const void* const b[], cudaDataType btype, int64_t ldb,
                                      const void* beta, void* const c[], cudaDataType ctype, int64_t ldc,
                                      int64_t count, cublasComputeType_t, cublasGemmAlgo_t) {
  const Product p(transa, transb, {m, n, k}, {lda, ldb, ldc}, {atype, btype, ctype}, alpha, beta);
  if (const cublasStatus_t status = p.check(); status != CUBLAS_STATUS_SUCCESS) return status;
  if (!on_device(a, b, c)) return CUBLAS_STATUS_EXECUTION_FAILED;
  return run_or_keep(handle, [=] {
    const cuda_emulation::DeviceAccess access;
    for (int64_t i = 0; i < count; ++i) p.multiply(a[i], b[i], c[i]);
  });
}

cublasStatus_t cublasGemmGroupedBatchedEx_64(cublasHandle_t handle, const cublasOperation_t transa[],
                                             const cublasOperation_t transb[], const int64_t m[],
                                             const int64_t n[], const int64_t k[], const void* alpha,
                                             const void* const a[], cudaDataType atype, const int64_t lda[],
                                             const void* const b[], cudaDataType btype, const int64_t ldb[],
                                             const void* beta, void* const c[], cudaDataType ctype,
                                             const int64_t ldc[], int64_t group_count,
                                             const int64_t group_size[], cublasComputeType_t compute) {
  if (ctype != atype) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (!on_device(a, b, c)) return CUBLAS_STATUS_EXECUTION_FAILED;
  // It reads the pointers at once, and a graph would need them later.
  if (cuda_emulation::refuse_in_graph("cublasGemmGroupedBatchedEx") != cudaSuccess)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const cuda_emulation::DeviceAccess access;
  int64_t i = 0;
  for (int64_t g = 0; g < group_count; ++g) {
    for (int64_t member = 0; member < group_size[g]; ++member, ++i) {
      const cublasStatus_t status = cublasGemmEx_64(handle, transa[g], transb[g], m[g], n[g], k[g],
                                                    static_cast<const float*>(alpha) + g, a[i], atype, lda[g],
                                                    b[i], btype, ldb[g], static_cast<const float*>(beta) + g,
                                                    c[i], ctype, ldc[g], compute, CUBLAS_GEMM_DEFAULT);
      if (status != CUBLAS_STATUS_SUCCESS) return status;
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}
