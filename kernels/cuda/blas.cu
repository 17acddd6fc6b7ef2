// cuBLAS is column-major. A row-major c = op(a) op(b) is cᵀ = op(b)ᵀ op(a)ᵀ to it, so a and b change places.
#include <algorithm>
#include <vector>

#include "kernels/cuda/blas.h"
#include "kernels/cuda/launch.h"

namespace natrix::cuda {
namespace {

cudaDataType type_of(View v) {
  if (v.dtype == Dtype::kBF16) return CUDA_R_16BF;
  require(v.dtype == Dtype::kF32, "a matrix product of another dtype than f32 and bf16");
  return CUDA_R_32F;
}

/// cuBLAS requires a stride that is not shorter than the row; a matrix of one row may have any stride.
int64_t leading(View v) {
  return std::max({v.row_stride, v.cols(), int64_t{1}});
}

cublasOperation_t operation(bool transpose) {
  return transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
}

int64_t terms(const Matmul& p) {
  return p.transpose_a ? p.a.rows() : p.a.cols();
}

void check_operands(const Matmul& p) {
  for (const void* data : {p.a.data, p.b.data, p.c.data}) check_reachable(data);
}

/// The device reads the array of pointers of a grouped product. The pointers of up to kMostProducts products
/// are passed as a kernel argument, which is copied at launch. The host neither waits nor keeps them alive.
constexpr size_t kMostProducts = 128;
struct Pointers {
  const void* p[3 * kMostProducts];
};
static_assert(sizeof(Pointers) < 4096, "what a kernel's arguments may take");

__global__ void store_pointers_kernel(Pointers from, int count, const void** to) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < count) to[i] = from.p[i];
}

/// The arguments of cublasGemmGroupedBatchedEx for each product; the arrays are in host memory.
struct Sizes {
  std::vector<cublasOperation_t> transa, transb;
  std::vector<int64_t> m, n, k, lda, ldb, ldc, one_each;
  std::vector<float> alpha, beta;

  explicit Sizes(std::span<const Matmul> products) {
    for (const Matmul& p : products) {
      transa.push_back(operation(p.transpose_b));
      transb.push_back(operation(p.transpose_a));
      m.push_back(p.c.cols());
      n.push_back(p.c.rows());
      k.push_back(terms(p));
      lda.push_back(leading(p.b));
      ldb.push_back(leading(p.a));
      ldc.push_back(leading(p.c));
    }
    one_each.assign(products.size(), 1);
    alpha.assign(products.size(), 1.0f);
    beta.assign(products.size(), products.front().accumulate ? 1.0f : 0.0f);
  }
};

void launch_together(Context& ctx, std::span<const Matmul> products) {
  const size_t count = products.size();
  Pointers pointers{};
  for (size_t i = 0; i < count; ++i) {
    check_operands(products[i]);
    pointers.p[i] = products[i].b.data;
    pointers.p[count + i] = products[i].a.data;
    pointers.p[2 * count + i] = products[i].c.data;
  }
  Arena::Frame frame(ctx.arena());  // later kernels of the stream may reuse its memory
  auto** there = reinterpret_cast<const void**>(
      ctx.arena().take(Dtype::kI64, {static_cast<int64_t>(3 * count)}).as<int64_t>());
  launch(store_pointers_kernel, 1, 3 * kMostProducts, 0, stream_of(ctx), pointers,
         static_cast<int>(3 * count), there);
  const Sizes s(products);
  const Matmul& p = products.front();
  check_blas(cublasGemmGroupedBatchedEx_64(
                 blas_of(ctx), s.transa.data(), s.transb.data(), s.m.data(), s.n.data(), s.k.data(),
                 s.alpha.data(), there, type_of(p.b), s.lda.data(), there + count, type_of(p.a), s.ldb.data(),
                 s.beta.data(), const_cast<void**>(there + 2 * count), type_of(p.c), s.ldc.data(),
                 static_cast<int64_t>(count), s.one_each.data(), CUBLAS_COMPUTE_32F),
             "cublasGemmGroupedBatchedEx");
}

/// Writes the pointers to the operands of each choice of an expert, in the order of cuBLAS.
template <class In, class Out>
void store_operands(Context& ctx, const ChosenMatmul& p, const void** to) {
  const Rows<In> rows(p.a);
  const Rows<Out> results(p.c);
  const In* matrices = p.b.as<In>();
  const int32_t* expert = p.expert.as<int32_t>();
  const int64_t choices = p.expert.count(), of_a_row = choices / p.a.rows();
  const int64_t matrix = p.b.extent(1) * p.b.row_stride;
  for_cells(ctx, 1, choices, [=] __device__(int64_t, int64_t s) {
    to[s] = matrices + expert[s] * matrix;
    to[choices + s] = rows[s / of_a_row];
    to[2 * choices + s] = results[s];
  });
}

}  // namespace

void check_blas(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw RunError(std::string(what) + ": " + cublasGetStatusString(status));
}

void gemm(Context& ctx, const Matmul& p) {
  check_operands(p);
  const float one = 1, beta = p.accumulate ? 1.0f : 0.0f;
  check_blas(cublasGemmEx_64(blas_of(ctx), operation(p.transpose_b), operation(p.transpose_a), p.c.cols(),
                             p.c.rows(), terms(p), &one, p.b.data, type_of(p.b), leading(p.b), p.a.data,
                             type_of(p.a), leading(p.a), &beta, p.c.data, type_of(p.c), leading(p.c),
                             CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
             "cublasGemmEx");
}

void grouped_gemm(Context& ctx, std::span<const Matmul> products) {
  if (products.empty()) return;
  // cuBLAS's grouped products require that results have the dtype of the operands.
  const bool together = products.size() > 1 && products.front().c.dtype == products.front().a.dtype;
  for (size_t i = 0; i < products.size();) {
    const size_t n = together ? std::min(kMostProducts, products.size() - i) : 1;
    n > 1 ? launch_together(ctx, products.subspan(i, n)) : gemm(ctx, products[i]);
    i += n;
  }
}

void chosen_gemm(Context& ctx, const ChosenMatmul& p) {
  for (const void* data : {p.a.data, p.b.data, p.c.data, p.expert.data}) check_reachable(data);
  const int64_t choices = p.expert.count();
  Arena::Frame frame(ctx.arena());
  auto** there = reinterpret_cast<const void**>(ctx.arena().take(Dtype::kI64, {3 * choices}).as<int64_t>());
  for_io(p.a.dtype, [&](auto in) {
    for_io(p.c.dtype, [&](auto out) { store_operands<decltype(in), decltype(out)>(ctx, p, there); });
  });
  const float one = 1, zero = 0;
  check_blas(
      cublasGemmBatchedEx_64(blas_of(ctx), CUBLAS_OP_T, CUBLAS_OP_N, p.c.cols(), 1, p.a.cols(), &one, there,
                             type_of(p.b), leading(p.b), there + choices, type_of(p.a), leading(p.a), &zero,
                             const_cast<void**>(there + 2 * choices), type_of(p.c), leading(p.c), choices,
                             CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
      "cublasGemmBatchedEx");
}

}  // namespace natrix::cuda
