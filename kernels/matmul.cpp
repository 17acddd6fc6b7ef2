#include "kernels/matmul.h"

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

void check(const Matmul& a) {
  const int64_t M = a.transpose_a ? a.a.cols() : a.a.rows(), K = a.transpose_a ? a.a.rows() : a.a.cols();
  const int64_t N = a.transpose_b ? a.b.rows() : a.b.cols();
  const Dtype dtype = at_most(a.c.dtype, a.a);
  check_matrix(a.a, dtype, a.a.rows(), a.a.cols(), "matmul: a");
  check_matrix(a.b, dtype, a.transpose_b ? N : K, a.transpose_b ? K : N, "matmul: b");
  check_matrix(a.c, a.c.dtype, M, N, "matmul: c");
  if (a.bias) check_dense(a.bias, wide(dtype), {N}, "matmul: bias");
  require(a.c.data != a.a.data && a.c.data != a.b.data, "matmul: c must not alias a or b");
}

void check_offsets(std::span<const int64_t> offsets, int64_t groups, int64_t rows, std::string_view what) {
  require(static_cast<int64_t>(offsets.size()) == groups + 1, what);
  require(offsets.front() == 0 && offsets.back() == rows, what);
  for (size_t e = 0; e + 1 < offsets.size(); ++e) require(offsets[e] <= offsets[e + 1], what);
}

void check(const GroupedMatmul& a) {
  require(a.b && a.b.shape.rank() == 3, "grouped_matmul: b must be [G, K, N], or [G, N, K] with transpose_b");
  const int64_t K = a.b.extent(a.transpose_b ? 2 : 1), N = a.b.extent(a.transpose_b ? 1 : 2);
  const Dtype dtype = at_most(a.c.dtype, a.a);
  check_matrix(a.a, dtype, a.c.rows(), K, "grouped_matmul: a");
  check_view(a.b, dtype, a.b.shape, "grouped_matmul: b");
  check_matrix(a.c, a.c.dtype, a.c.rows(), N, "grouped_matmul: c");
  check_offsets(a.offsets, a.b.extent(0), a.a.rows(),
                "grouped_matmul: offsets must be G + 1 values that rise from 0 to the rows of a");
}

void check(const ChosenMatmul& a) {
  require(a.b && a.b.shape.rank() == 3, "chosen_matmul: b must be [G, N, K]");
  const int64_t choices = a.expert.count(), rows = a.a.rows();
  const Dtype dtype = at_most(a.c.dtype, a.a);
  require(rows > 0 && choices % rows == 0,
          "chosen_matmul: every row of a must have the same number of choices");
  check_matrix(a.a, dtype, rows, a.b.extent(2), "chosen_matmul: a");
  check_view(a.b, dtype, a.b.shape, "chosen_matmul: b");
  check_dense(a.expert, Dtype::kI32, a.expert.shape, "chosen_matmul: expert");
  check_matrix(a.c, a.c.dtype, choices, a.b.extent(1), "chosen_matmul: c");
}

void check(const GroupedOuter& a) {
  require(a.c && a.c.shape.rank() == 3, "grouped_outer: c must be [G, M, N]");
  const Dtype dtype = at_most(a.c.dtype, a.a);
  check_matrix(a.a, dtype, a.a.rows(), a.c.extent(1), "grouped_outer: a");
  check_matrix(a.b, dtype, a.a.rows(), a.c.extent(2), "grouped_outer: b");
  check_offsets(a.offsets, a.c.extent(0), a.a.rows(),
                "grouped_outer: offsets must be G + 1 values that rise from 0 to the rows of a");
}

Cost product(Work work, Dtype dtype, int64_t m, int64_t k, int64_t n, double bytes) {
  const double flops = 2 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
  const bool narrow = dtype == Dtype::kBF16;
  return {.work = work, .flops = narrow ? 0 : flops, .bf16_flops = narrow ? flops : 0, .bytes = bytes};
}

}  // namespace

Cost cost(const Matmul& a) {
  const int64_t k = a.transpose_a ? a.a.rows() : a.a.cols();
  return product(Work::kProducts, a.a.dtype, a.c.rows(), k, a.c.cols(),
                 bytes_of({a.a, a.b, a.c, a.accumulate ? a.c : View{}}));
}

Cost cost(const GroupedMatmul& a) {
  return product(Work::kExpertProducts, a.a.dtype, a.a.rows(), a.a.cols(), a.c.cols(),
                 bytes_of({a.a, a.b, a.c}));
}

Cost cost(const ChosenMatmul& a) {
  return product(Work::kExpertProducts, a.a.dtype, a.c.rows(), a.a.cols(), a.c.cols(),
                 bytes_of({a.a, a.b, a.c}));
}

Cost cost(const GroupedOuter& a) {
  return product(Work::kExpertProducts, a.a.dtype, a.a.rows(), a.a.cols(), a.b.cols(),
                 bytes_of({a.a, a.b, a.c, a.accumulate ? a.c : View{}}));
}

Cost cost(const ColumnSum& a) {
  return {.bytes = bytes_of({a.a, a.sum})};
}

void matmul(Context& ctx, const Matmul& args) {
  check(args);
  dispatch<Matmul>(ctx, "matmul", args,
                   {.reference = reference::matmul, .cpu = cpu::matmul, .cuda = if_cuda<cuda::matmul>()});
}

void grouped_matmul(Context& ctx, const GroupedMatmul& args) {
  check(args);
  dispatch<GroupedMatmul>(ctx, "grouped_matmul", args,
                          {.reference = reference::grouped_matmul,
                           .cpu = cpu::grouped_matmul,
                           .cuda = if_cuda<cuda::grouped_matmul>()});
}

void chosen_matmul(Context& ctx, const ChosenMatmul& args) {
  check(args);
  dispatch<ChosenMatmul>(ctx, "chosen_matmul", args,
                         {.reference = reference::chosen_matmul,
                          .cpu = cpu::chosen_matmul,
                          .cuda = if_cuda<cuda::chosen_matmul>()});
}

void grouped_outer(Context& ctx, const GroupedOuter& args) {
  check(args);
  dispatch<GroupedOuter>(ctx, "grouped_outer", args,
                         {.reference = reference::grouped_outer,
                          .cpu = cpu::grouped_outer,
                          .cuda = if_cuda<cuda::grouped_outer>()});
}

void column_sum(Context& ctx, const ColumnSum& args) {
  check_matrix(args.a, at_most(args.sum.dtype, args.a), args.a.rows(), args.sum.count(), "column_sum: a");
  check_dense(args.sum, wide(args.a.dtype), {args.a.cols()}, "column_sum: sum");
  dispatch<ColumnSum>(
      ctx, "column_sum", args,
      {.reference = reference::column_sum, .cpu = cpu::column_sum, .cuda = if_cuda<cuda::column_sum>()});
}

}  // namespace natrix
