// Dense and grouped matrix products. Matrices are row-major; every operand may have strided rows.
//
//   matmul           c = op(a) op(b)  [+ c]  [+ bias on every row]     op transposes where a flag says so
//   grouped_matmul   c[rows of e] = a[rows of e] op(b[e])              rows are sorted by group e, an expert
//   grouped_outer    c[e] = a[rows of e]ᵀ b[rows of e]  [+ c[e]]        the gradient of an expert's weight
//
// Dtypes: a and b share one dtype. c has the same dtype, or f32 where a and b are bf16; bias and column sums
// are then f32. Products are summed in f32.
//
// A linear layer y = x Wᵀ with W [out, in] is matmul({.a = x, .b = W, .c = y, .transpose_b = true}).
//
// Contract for recomputation: a row of c depends only on its row of op(a) and on b, bit for bit. The other
// rows of the call and their number do not matter. Therefore chunk size, expert load and decoding one token
// at a time do not change results. Backend cuda guarantees this only between calls of equal sizes;
// kernels/cuda/matmul.cu explains why.
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

/// c[s] = a[s / (S / M)] · b[expert[s]]ᵀ, one row for each choice of an expert, not sorted by expert.
/// Decoding uses it for a few tokens on a device: only the device knows which experts they chose, and the
/// host does not wait to learn it. It reads an expert's matrix once per row. For more than a few dozen rows,
/// sort them and use grouped_matmul.
struct ChosenMatmul {
  View a;       // [M, K]; each row serves the S / M choices of its token
  View b;       // [G, N, K]
  View expert;  // [S] i32 below G, with any leading dimensions; in the backend's memory
  View c;       // [S, N] (=)
};
void chosen_matmul(Context& ctx, const ChosenMatmul& args);
Cost cost(const ChosenMatmul& args);

struct GroupedOuter {
  View a;                            // [R, M]
  View b;                            // [R, N]
  View c;                            // [G, M, N]
  std::span<const int64_t> offsets;  // as above
  bool accumulate = false;           // c[e] += instead of c[e] =; with =, c[e] is zero where e has no rows
};
void grouped_outer(Context& ctx, const GroupedOuter& args);
Cost cost(const GroupedOuter& args);

/// sum[j] += Σ_r a[r, j], the gradient of a bias.
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
