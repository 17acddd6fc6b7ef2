// Matrix products by cuBLAS, which is column-major: a row-major c = a b is its cᵀ = bᵀ aᵀ.
//
// The contract of matmul.h on bits holds for the same call repeated, which is what recomputation needs. It
// does not hold between calls of different sizes: cuBLAS picks its kernel by them, so results of another
// chunk size differ by rounding.
#include "kernels/cuda/blas.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/matmul.h"

namespace natrix::cuda {
namespace {

/// Matrix e of a stack [G, rows, cols].
View matrix_of(View stack, int64_t e) {
  return stack.row_range(e * stack.extent(1), stack.extent(1));
}

/// A matrix of one row may say any stride; cuBLAS wants one that is no shorter than the row.
int64_t leading(View v) {
  const int64_t cols = v.cols() > 0 ? v.cols() : 1;
  return v.row_stride > cols ? v.row_stride : cols;
}

}  // namespace

void matmul(Context& ctx, const Matmul& a) {
  const int64_t rows = a.c.rows(), cols = a.c.cols(), inner = a.transpose_a ? a.a.rows() : a.a.cols();
  if (rows == 0 || cols == 0) return;
  const Rows<float> c(a.c), bias(a.bias);
  if (inner == 0 && !a.accumulate) {
    for_cells(ctx, rows, cols, [=] __device__(int64_t r, int64_t n) { c[r][n] = 0; });
  } else if (inner > 0) {
    sgemm(ctx, a.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, a.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, cols,
          rows, inner, Rows<float>(a.b).data, leading(a.b), Rows<float>(a.a).data, leading(a.a),
          a.accumulate ? 1.0f : 0.0f, c.data, leading(a.c));
  }
  if (bias) for_cells(ctx, rows, cols, [=] __device__(int64_t r, int64_t n) { c[r][n] += bias[0][n]; });
}

void grouped_matmul(Context& ctx, const GroupedMatmul& a) {
  for (int64_t e = 0; e < a.b.extent(0); ++e) {
    const int64_t begin = a.offsets[static_cast<size_t>(e)],
                  rows = a.offsets[static_cast<size_t>(e) + 1] - begin;
    cuda::matmul(ctx, {.a = a.a.row_range(begin, rows),
                       .b = matrix_of(a.b, e),
                       .c = a.c.row_range(begin, rows),
                       .transpose_b = a.transpose_b});
  }
}

void grouped_outer(Context& ctx, const GroupedOuter& a) {
  for (int64_t e = 0; e < a.c.extent(0); ++e) {
    const int64_t begin = a.offsets[static_cast<size_t>(e)],
                  rows = a.offsets[static_cast<size_t>(e) + 1] - begin;
    cuda::matmul(ctx, {.a = a.a.row_range(begin, rows),
                       .b = a.b.row_range(begin, rows),
                       .c = matrix_of(a.c, e),
                       .transpose_a = true,
                       .accumulate = true});
  }
}

void column_sum(Context& ctx, const ColumnSum& a) {
  const Rows<float> x(a.a);
  add_column_sums(ctx, a.a.rows(), a.a.cols(), Rows<float>(a.sum).data,
                  [=] __device__(int64_t r, int64_t c) { return x[r][c]; });
}

}  // namespace natrix::cuda
