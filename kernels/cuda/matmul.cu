// Matrix products by cuBLAS, and the kernels around them.
//
// Results repeat bit for bit between calls of equal sizes, which is what recomputation needs.
// They do not between calls of different sizes: cuBLAS picks its kernel by the sizes, so another
// chunk size changes rounding.
#include <vector>

#include "kernels/cuda/blas.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/matmul.h"

namespace natrix::cuda {
namespace {

/// Matrix e of a stack [G, rows, cols].
View matrix_of(View stack, int64_t e) {
  return stack.row_range(e * stack.extent(1), stack.extent(1));
}

template <class T>
void add_bias(Context& ctx, View to, View bias_) {
  const Rows<T> c(to);
  const Rows<float> bias(bias_);
  for_quads(ctx, to.rows(), to.cols(), {to, bias_}, [=] __device__(int64_t r, auto columns) {
    Quad sum = columns.load(c[r]);
    sum += columns.load(bias[0]);
    columns.store(c[r], sum);
  });
}

template <class T>
void add_rows(Context& ctx, const ColumnSum& a) {
  const Rows<T> x(a.a);
  add_column_sums(ctx, a.a.rows(), a.a.cols(), {a.a}, a.sum,
                  [=] __device__(int64_t r, auto c) { return c.load(x[r]); });
}

/// Calls f(group, first row, number of rows) for every group.
template <class F>
void for_groups(std::span<const int64_t> offsets, F f) {
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    f(static_cast<int64_t>(e), offsets[e], offsets[e + 1] - offsets[e]);
  }
}

}  // namespace

void matmul(Context& ctx, const Matmul& a) {
  if (a.c.rows() == 0 || a.c.cols() == 0) return;
  if ((a.transpose_a ? a.a.rows() : a.a.cols()) > 0) {
    gemm(ctx, a);
  } else if (!a.accumulate) {
    fill_zero(a.c);
  }
  if (a.bias) for_io(a.c.dtype, [&](auto zero) { add_bias<decltype(zero)>(ctx, a.c, a.bias); });
}

void grouped_matmul(Context& ctx, const GroupedMatmul& a) {
  if (a.c.cols() == 0) return;
  if (a.a.cols() == 0) return fill_zero(a.c);
  std::vector<Matmul> products;
  for_groups(a.offsets, [&](int64_t e, int64_t first, int64_t rows) {
    if (rows == 0) return;
    products.push_back({.a = a.a.row_range(first, rows),
                        .b = matrix_of(a.b, e),
                        .c = a.c.row_range(first, rows),
                        .transpose_b = a.transpose_b});
  });
  grouped_gemm(ctx, products);
}

void chosen_matmul(Context& ctx, const ChosenMatmul& a) {
  if (a.c.cols() == 0) return;
  if (a.a.cols() == 0) return fill_zero(a.c);
  chosen_gemm(ctx, a);
}

void grouped_outer(Context& ctx, const GroupedOuter& a) {
  if (a.a.cols() == 0 || a.b.cols() == 0) return;
  std::vector<Matmul> products;
  for_groups(a.offsets, [&](int64_t e, int64_t first, int64_t rows) {
    if (rows == 0) {
      if (!a.accumulate) fill_zero(matrix_of(a.c, e));
      return;
    }
    products.push_back({.a = a.a.row_range(first, rows),
                        .b = a.b.row_range(first, rows),
                        .c = matrix_of(a.c, e),
                        .transpose_a = true,
                        .accumulate = a.accumulate});
  });
  grouped_gemm(ctx, products);
}

void column_sum(Context& ctx, const ColumnSum& a) {
  for_io(a.a.dtype, [&](auto zero) { add_rows<decltype(zero)>(ctx, a); });
}

}  // namespace natrix::cuda
