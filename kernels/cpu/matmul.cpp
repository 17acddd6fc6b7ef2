// Matrix products on the CPU. Views become pointers and steps, and kernels/cpu/gemm.cpp multiplies. All
// groups of a call are given to the threads together, so that small experts share them.
#include "kernels/matmul.h"

#include <algorithm>
#include <vector>

#include "kernels/base/parallel.h"
#include "kernels/cpu/gemm.h"

namespace natrix::cpu {
namespace {

void require_f32(View v) {
  require(v.dtype == Dtype::kF32,
          "the CPU backend multiplies f32 matrices only; f64 is the reference backend's");
}

Gemm product_of(const Matmul& args) {
  return {.M = args.c.rows(),
          .N = args.c.cols(),
          .K = args.transpose_a ? args.a.rows() : args.a.cols(),
          .a = args.a.as<float>(),
          .a_row = args.transpose_a ? 1 : args.a.row_stride,
          .a_k = args.transpose_a ? args.a.row_stride : 1,
          .b = args.b.as<float>(),
          .b_k = args.transpose_b ? 1 : args.b.row_stride,
          .b_col = args.transpose_b ? args.b.row_stride : 1,
          .c = args.c.as<float>(),
          .c_row = args.c.row_stride,
          .bias = args.bias.as<float>(),
          .accumulate = args.accumulate};
}

/// The rows of group e.
View rows_of(View v, std::span<const int64_t> offsets, size_t e) {
  return v.row_range(offsets[e], offsets[e + 1] - offsets[e]);
}

/// Matrix e of a stack [G, rows, cols].
View matrix_of(View stack, size_t e) {
  return stack.row_range(static_cast<int64_t>(e) * stack.extent(1), stack.extent(1));
}

}  // namespace

void matmul(Context& ctx, const Matmul& args) {
  require_f32(args.c);
  const Gemm product = product_of(args);
  gemm(ctx, {&product, 1});
}

void grouped_matmul(Context& ctx, const GroupedMatmul& args) {
  require_f32(args.c);
  std::vector<Gemm> products;
  for (size_t e = 0; e + 1 < args.offsets.size(); ++e) {
    products.push_back(product_of({.a = rows_of(args.a, args.offsets, e),
                                   .b = matrix_of(args.b, e),
                                   .c = rows_of(args.c, args.offsets, e),
                                   .transpose_b = args.transpose_b}));
  }
  gemm(ctx, products);
}

void chosen_matmul(Context& ctx, const ChosenMatmul& args) {
  require_f32(args.c);
  const int64_t choices = args.expert.count(), of_a_row = choices / args.a.rows();
  std::vector<Gemm> products;
  for (int64_t s = 0; s < choices; ++s) {
    const auto e = static_cast<size_t>(args.expert.as<int32_t>()[s]);
    products.push_back(product_of({.a = args.a.row_range(s / of_a_row, 1),
                                   .b = matrix_of(args.b, e),
                                   .c = args.c.row_range(s, 1),
                                   .transpose_b = true}));
  }
  gemm(ctx, products);
}

void grouped_outer(Context& ctx, const GroupedOuter& args) {
  require_f32(args.c);
  std::vector<Gemm> products;
  for (size_t e = 0; e + 1 < args.offsets.size(); ++e) {
    products.push_back(product_of({.a = rows_of(args.a, args.offsets, e),
                                   .b = rows_of(args.b, args.offsets, e),
                                   .c = matrix_of(args.c, e),
                                   .transpose_a = true,
                                   .accumulate = args.accumulate}));
  }
  gemm(ctx, products);
}

/// Columns run in parallel and rows in order, so bits do not depend on the number of threads.
void column_sum(Context& ctx, const ColumnSum& args) {
  require_f32(args.a);
  constexpr int64_t kColumns = 64;
  parallel_for(ctx, args.a.cols(), kColumns, [&](int64_t begin, int64_t end) {
    float* to = args.sum.as<float>();
    double sums[kColumns] = {};
    for (int64_t j = begin; j < end; ++j) sums[j - begin] = static_cast<double>(to[j]);
    for (int64_t r = 0; r < args.a.rows(); ++r) {
      const float* row = args.a.row<float>(r);
      for (int64_t j = begin; j < end; ++j) sums[j - begin] += static_cast<double>(row[j]);
    }
    for (int64_t j = begin; j < end; ++j) to[j] = static_cast<float>(sums[j - begin]);
  });
}

}  // namespace natrix::cpu
