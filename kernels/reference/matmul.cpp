// Matrix products as their formulas say. Storage is f32 or f64, sums are in double.
#include "kernels/matmul.h"

#include <vector>

namespace natrix::reference {
namespace {

/// A view as a matrix, transposed or not: element (i, j) lies at data + i·row_step + j·col_step.
template <class T>
struct Matrix {
  T* data;
  int64_t row_step, col_step;

  explicit Matrix(View v, bool transposed = false)
      : data(v.as<T>()), row_step(transposed ? 1 : v.row_stride), col_step(transposed ? v.row_stride : 1) {}

  T& operator()(int64_t i, int64_t j) const { return data[i * row_step + j * col_step]; }
};

template <class T>
void multiply(const Matmul& args) {
  const Matrix<T> a(args.a, args.transpose_a), b(args.b, args.transpose_b), c(args.c);
  const T* bias = args.bias.as<T>();
  const int64_t K = args.transpose_a ? args.a.rows() : args.a.cols();
  for (int64_t i = 0; i < args.c.rows(); ++i) {
    for (int64_t j = 0; j < args.c.cols(); ++j) {
      double sum = args.accumulate ? static_cast<double>(c(i, j)) : 0.0;
      if (bias != nullptr) sum += static_cast<double>(bias[j]);
      for (int64_t k = 0; k < K; ++k) sum += static_cast<double>(a(i, k)) * static_cast<double>(b(k, j));
      c(i, j) = static_cast<T>(sum);
    }
  }
}

/// Matrix e of a stack [G, rows, cols].
View matrix_of(View stack, int64_t e) {
  return stack.row_range(e * stack.extent(1), stack.extent(1));
}

template <class T>
void sum_columns(const ColumnSum& args) {
  for (int64_t j = 0; j < args.a.cols(); ++j) {
    double sum = static_cast<double>(args.sum.as<T>()[j]);
    for (int64_t r = 0; r < args.a.rows(); ++r) sum += static_cast<double>(args.a.row<T>(r)[j]);
    args.sum.as<T>()[j] = static_cast<T>(sum);
  }
}

}  // namespace

void matmul(Context&, const Matmul& args) {
  for_float(args.c.dtype, [&](auto zero) { multiply<decltype(zero)>(args); });
}

void grouped_matmul(Context& ctx, const GroupedMatmul& args) {
  for (int64_t e = 0; e < args.b.extent(0); ++e) {
    const int64_t begin = args.offsets[static_cast<size_t>(e)];
    const int64_t rows = args.offsets[static_cast<size_t>(e) + 1] - begin;
    reference::matmul(ctx, {.a = args.a.row_range(begin, rows),
                            .b = matrix_of(args.b, e),
                            .c = args.c.row_range(begin, rows),
                            .transpose_b = args.transpose_b});
  }
}

void chosen_matmul(Context& ctx, const ChosenMatmul& args) {
  const int64_t choices = args.expert.count(), of_a_row = choices / args.a.rows();
  for (int64_t s = 0; s < choices; ++s) {
    reference::matmul(ctx, {.a = args.a.row_range(s / of_a_row, 1),
                            .b = matrix_of(args.b, args.expert.as<int32_t>()[s]),
                            .c = args.c.row_range(s, 1),
                            .transpose_b = true});
  }
}

void grouped_outer(Context& ctx, const GroupedOuter& args) {
  for (int64_t e = 0; e < args.c.extent(0); ++e) {
    const int64_t begin = args.offsets[static_cast<size_t>(e)];
    const int64_t rows = args.offsets[static_cast<size_t>(e) + 1] - begin;
    reference::matmul(ctx, {.a = args.a.row_range(begin, rows),
                            .b = args.b.row_range(begin, rows),
                            .c = matrix_of(args.c, e),
                            .transpose_a = true,
                            .accumulate = args.accumulate});
  }
}

void column_sum(Context&, const ColumnSum& args) {
  for_float(args.a.dtype, [&](auto zero) { sum_columns<decltype(zero)>(args); });
}

}  // namespace natrix::reference
