// Dense and grouped matrix products. Row-major; every operand may have strided rows.
//
//   matmul           c = op(a) op(b)  [+ c]  [+ bias on every row]       op transposes where asked
//   grouped_matmul   rows are sorted by group (an expert): c[rows of e] = a[rows of e] op(b[e])
//   grouped_outer    c[e] = a[rows of e]ᵀ b[rows of e]  [+ c[e]]        the gradient of an expert's weight
//
// Dtypes: a and b share one, c has the same, or f32 where they are bf16; bias and column sums are f32 then.
// Sums of products are in f32.
//
// A linear layer y = x Wᵀ with W [out, in] is matmul({.a = x, .b = W, .c = y, .transpose_b = true}).
//
// Contract for recompute: a row of c depends on that row of op(a) and on b alone, to the last bit, whatever
// other rows stand in the call and however many: chunk sizes, expert loads, and decoding one token at a time
// do not change results. Backend cuda keeps it for calls of the same sizes only, kernels/cuda/matmul.cu says
// why.
#pragma once

#include <span>

#include "kernels/base/context.h"

namespace natrix {

struct Matmul {
  View a;     // [M, K], or [K, M] with transpose_a; leading dimensions are collapsed into rows
  View b;     // [K, N], or [N, K] with transpose_b
  View c;     // [M, N]; must not alias a or b
  View bias;  // [N], optional
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  // c += instead of c =
};
void matmul(Context& ctx, const Matmul& args);
Cost cost(const Matmul& args);

/// G groups. Rows [offsets[e], offsets[e + 1]) belong to group e; a group may be empty.
struct GroupedMatmul {
  View a;                            // [R, K]
  View b;                            // [G, K, N], or [G, N, K] with transpose_b
  View c;                            // [R, N] (=)
  std::span<const int64_t> offsets;  // G + 1 values from 0 to R
  bool transpose_b = false;
};
void grouped_matmul(Context& ctx, const GroupedMatmul& args);
Cost cost(const GroupedMatmul& args);

/// A row for each choice of an expert, in no order: what a few tokens need of their experts, where only the
/// device knows which they are and nobody waits for it. c[s] = a[s / (S / M)] · b[expert[s]]ᵀ. Reads a matrix
/// again for each of its rows: beyond a few dozen, sort them and take grouped_matmul.
struct ChosenMatmul {
  View a;       // [M, K]; each row is for the S / M choices of its token
  View b;       // [G, N, K]
  View expert;  // [S] i32, any leading dimensions; where the kernels are; below G
  View c;       // [S, N] (=)
};
void chosen_matmul(Context& ctx, const ChosenMatmul& args);
Cost cost(const ChosenMatmul& args);

struct GroupedOuter {
  View a;                            // [R, M]
  View b;                            // [R, N]
  View c;                            // [G, M, N]
  std::span<const int64_t> offsets;  // as above
  bool accumulate = false;           // c[e] += instead of c[e] =, which is zero where e has no rows
};
void grouped_outer(Context& ctx, const GroupedOuter& args);
Cost cost(const GroupedOuter& args);

/// sum[j] += Σ_r a[r, j]: the gradient of a bias.
struct ColumnSum {
  View a;    // [R, N]
  View sum;  // [N] (+=)
};
void column_sum(Context& ctx, const ColumnSum& args);
Cost cost(const ColumnSum& args);

namespace reference {
void matmul(Context& ctx, const Matmul& args);
void grouped_matmul(Context& ctx, const GroupedMatmul& args);
void chosen_matmul(Context& ctx, const ChosenMatmul& args);
void grouped_outer(Context& ctx, const GroupedOuter& args);
void column_sum(Context& ctx, const ColumnSum& args);
}  // namespace reference
namespace cpu {
void matmul(Context& ctx, const Matmul& args);
void grouped_matmul(Context& ctx, const GroupedMatmul& args);
void chosen_matmul(Context& ctx, const ChosenMatmul& args);
void grouped_outer(Context& ctx, const GroupedOuter& args);
void column_sum(Context& ctx, const ColumnSum& args);
}  // namespace cpu
namespace cuda {
void matmul(Context& ctx, const Matmul& args);
void grouped_matmul(Context& ctx, const GroupedMatmul& args);
void chosen_matmul(Context& ctx, const ChosenMatmul& args);
void grouped_outer(Context& ctx, const GroupedOuter& args);
void column_sum(Context& ctx, const ColumnSum& args);
}  // namespace cuda

}  // namespace natrix
