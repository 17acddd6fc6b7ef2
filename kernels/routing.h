// Routing of tokens to experts: scores, choice, permutation by expert, and the weighted sum of their results.
//
//   scores = softmax(logits)  or  σ(logits)                     [T, E]
//   expert = the top_k largest of scores + bias, largest first; ties go to the smaller index. With groups, only
//            experts of the top_groups best groups; a group of E/groups experts in a row is worth the sum of
//            its two largest scores + bias
//   weight = score of each chosen expert, optionally divided by the sum of those scores, times scale
//
// T tokens (all leading dimensions collapsed), E experts, k = top_k, R ≤ T·k rows after the permutation.
// kTinyScoreSum is added to divisors (the sum of the chosen scores, and the sum of all sigmoids), as in
// DeepSeek-V3: when all of these scores underflow, the weights are zero and not NaN.
//
// Dtypes: tokens and rows share one dtype. Weights have the same dtype, or f32 where that is bf16.
//
// A slot is the flat index t·k + j of token t's j-th choice. Rows are ordered by (expert, token).
#pragma once

#include <span>

#include "kernels/base/context.h"

namespace natrix {

enum class RouterScore { kSoftmax, kSigmoid };

inline constexpr double kTinyScoreSum =
    1e-20;  // below half a unit in the last place of any sum above 2e-13, in f32

struct RouteForward {
  View logits;  // [T, E]
  View bias;    // [E], optional: affects the choice only (arXiv 2408.15664)
  RouterScore score = RouterScore::kSoftmax;
  bool renormalize = false;
  double scale = 1.0;
  int64_t groups = 1, top_groups = 1;
  View scores;     // out, [T, E]
  View expert;     // out, [T, k] i32
  View weight;     // out, [T, k]
  View logsumexp;  // out, [T]: logsumexp of the logits, for the z-loss
};
void route_forward(Context& ctx, const RouteForward& args);
Cost cost(const RouteForward& args);

/// dlogits = the gradient with respect to the logits of
///
///   Σ weight·dweight  +  Σ_t Σ_e balance[e] · p_te  +  z_scale · Σ_t logsumexp_t²
///
/// where p = scores for softmax, and scores / Σ_e scores for sigmoid. balance carries the load-balancing
/// loss: coefficient · E · f_e / T, with f_e and T of the whole step.
struct RouteBackward {
  View logits, scores, expert, weight, logsumexp;  // as in forward
  RouterScore score = RouterScore::kSoftmax;
  bool renormalize = false;
  double scale = 1.0;
  View dweight;  // [T, k]
  View balance;  // [E], optional
  double z_scale = 0.0;
  View dlogits;  // out (=), [T, E]
};
void route_backward(Context& ctx, const RouteBackward& args);
Cost cost(const RouteBackward& args);

/// Sums for the auxiliary losses over a span of tokens. Every output is += in f64, in host memory.
struct RouteTally {
  View scores, expert, logsumexp;  // expert may lie on the host or on the device
  RouterScore score = RouterScore::kSoftmax;
  View counts;             // [E] f64: slots that chose the expert
  View score_sum;          // [E] f64: Σ_t p_te
  View squared_logsumexp;  // [1] f64: Σ_t logsumexp_t²
};
void route_tally(Context& ctx, const RouteTally& args);
Cost cost(const RouteTally& args);

/// Sorts slots by (expert, token). With capacity ≥ 0 an expert keeps its first `capacity` tokens; the slots
/// of further tokens get row −1. Runs on the host, because its result decides the shapes of all that follows.
struct RoutePermutation {
  View expert;  // [T, k] i32, on the host or on the device
  int64_t capacity = -1;
  View row_of_slot;            // out, [T, k] i64: the row of a slot, or −1
  View slot_of_row;            // out, [T·k] i64; the first R are set
  std::span<int64_t> offsets;  // out, E + 1: rows [offsets[e], offsets[e + 1]) go to expert e; offsets[E] = R
};
void route_permutation(Context& ctx, const RoutePermutation& args);
Cost cost(const RoutePermutation& args);

/// rows[r] = x[slot_of_row[r] / k].
struct GatherRows {
  View x;            // [T, D]
  View slot_of_row;  // [R] i64
  int64_t top_k = 1;
  View rows;  // out, [R, D]
};
void gather_rows(Context& ctx, const GatherRows& args);
Cost cost(const GatherRows& args);

/// The adjoint of gather_rows: dx[t] = Σ_j drows[row_of_slot[t, j]], or += with accumulate.
struct GatherRowsBackward {
  View drows;        // [R, D]
  View row_of_slot;  // [T, k] i64
  View dx;           // out, [T, D]
  bool accumulate = false;
};
void gather_rows_backward(Context& ctx, const GatherRowsBackward& args);
Cost cost(const GatherRowsBackward& args);

/// y[t] = Σ_j weight[t, j] · rows[row_of_slot[t, j]], or += with accumulate. Dropped slots add nothing.
struct CombineRows {
  View rows;         // [R, D]
  View row_of_slot;  // [T, k] i64; when empty, slot (t, j) has row t·k + j
  View weight;       // [T, k]
  View y;            // out, [T, D]
  bool accumulate = false;

  int64_t top_k() const { return (row_of_slot ? row_of_slot : weight).cols(); }
};
void combine_rows(Context& ctx, const CombineRows& args);
Cost cost(const CombineRows& args);

/// drows[r] = weight[slot] · dy[token];  dweight[t, j] = ⟨rows[row], dy[t]⟩, or 0 for a dropped slot.
struct CombineRowsBackward {
  View rows, row_of_slot, slot_of_row, weight;
  View dy;       // [T, D]
  View drows;    // out (=), [R, D]; may alias rows
  View dweight;  // out (=), [T, k]
};
void combine_rows_backward(Context& ctx, const CombineRowsBackward& args);
Cost cost(const CombineRowsBackward& args);

namespace reference {
void route_forward(Context& ctx, const RouteForward& args);
void route_backward(Context& ctx, const RouteBackward& args);
void route_tally(Context& ctx, const RouteTally& args);
void route_permutation(Context& ctx, const RoutePermutation& args);
void gather_rows(Context& ctx, const GatherRows& args);
void gather_rows_backward(Context& ctx, const GatherRowsBackward& args);
void combine_rows(Context& ctx, const CombineRows& args);
void combine_rows_backward(Context& ctx, const CombineRowsBackward& args);
}  // namespace reference
namespace cpu {
void route_forward(Context& ctx, const RouteForward& args);
void route_backward(Context& ctx, const RouteBackward& args);
void gather_rows(Context& ctx, const GatherRows& args);
void gather_rows_backward(Context& ctx, const GatherRowsBackward& args);
void combine_rows(Context& ctx, const CombineRows& args);
void combine_rows_backward(Context& ctx, const CombineRowsBackward& args);
}  // namespace cpu
namespace cuda {
void route_forward(Context& ctx, const RouteForward& args);
void route_backward(Context& ctx, const RouteBackward& args);
void route_tally(Context& ctx, const RouteTally& args);
void route_permutation(Context& ctx, const RoutePermutation& args);
void gather_rows(Context& ctx, const GatherRows& args);
void gather_rows_backward(Context& ctx, const GatherRowsBackward& args);
void combine_rows(Context& ctx, const CombineRows& args);
void combine_rows_backward(Context& ctx, const CombineRowsBackward& args);
}  // namespace cuda

}  // namespace natrix
