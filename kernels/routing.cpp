#include "kernels/routing.h"

#include <algorithm>
#include <iterator>

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

/// Checks [rows, cols] after the leading dimensions are collapsed.
void check_rows(View v, Dtype dtype, int64_t rows, int64_t cols, std::string_view what) {
  require(v && v.dtype == dtype && v.rows() == rows && v.cols() == cols, what);
}

/// Checks a contiguous view of `count` elements, which is indexed by slot or by token.
void check_flat(View v, Dtype dtype, int64_t count, std::string_view what) {
  require(v && v.dtype == dtype && v.count() == count && v.contiguous(), what);
}

/// Checks logits, scores [T, E]; expert, weight [T, k]; logsumexp [T].
template <class Args>
void check_choice(const Args& a) {
  require(static_cast<bool>(a.logits), "routing: no logits");
  const int64_t tokens = a.logits.rows(), experts = a.logits.cols(), top_k = a.expert.cols();
  require(1 <= top_k && top_k <= experts, "routing: top_k is not between 1 and the number of experts");
  check_rows(a.scores, a.logits.dtype, tokens, experts,
             "routing: scores are not [T, E] in the dtype of logits");
  check_rows(a.expert, Dtype::kI32, tokens, top_k, "routing: expert is not [T, k] i32");
  check_rows(a.weight, a.logits.dtype, tokens, top_k, "routing: weight is not [T, k] in the dtype of logits");
  check_flat(a.logsumexp, a.logits.dtype, tokens,
             "routing: logsumexp is not a dense [T] in the dtype of logits");
}

/// Checks [T, k] i64 for any k.
void check_slots(View row_of_slot, int64_t tokens, std::string_view what) {
  require(row_of_slot && row_of_slot.dtype == Dtype::kI64 && row_of_slot.rows() == tokens &&
              row_of_slot.contiguous(),
          what);
}

/// What a dry run assumes: every expert is chosen as often as every other.
void even_offsets(const RoutePermutation& a) {
  const int64_t slots = a.expert.count(), experts = std::ssize(a.offsets) - 1;
  a.offsets[0] = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t chosen = slots * (e + 1) / experts - slots * e / experts;
    a.offsets[static_cast<size_t>(e) + 1] =
        a.offsets[static_cast<size_t>(e)] + (a.capacity < 0 ? chosen : std::min(chosen, a.capacity));
  }
}

}  // namespace

Cost cost(const RouteForward& a) {
  return {.exps = static_cast<double>(a.logits.count()),
          .bytes = bytes_of({a.logits, a.scores, a.expert, a.weight, a.logsumexp})};
}

Cost cost(const RouteBackward& a) {
  return {.bytes = bytes_of({a.logits, a.scores, a.expert, a.weight, a.dweight, a.dlogits})};
}

Cost cost(const RouteTally& a) {
  return {.bytes = bytes_of({a.scores, a.expert, a.logsumexp})};
}

Cost cost(const RoutePermutation& a) {
  return {.bytes = bytes_of({a.expert, a.row_of_slot, a.slot_of_row})};
}

Cost cost(const GatherRows& a) {
  return {.bytes = bytes_of({a.rows, a.rows, a.slot_of_row})};
}

Cost cost(const GatherRowsBackward& a) {
  return {.bytes = bytes_of({a.drows, a.dx, a.row_of_slot})};
}

Cost cost(const CombineRows& a) {
  return {.bytes = bytes_of({a.rows, a.y, a.weight, a.row_of_slot})};
}

Cost cost(const CombineRowsBackward& a) {
  return {.bytes = bytes_of({a.rows, a.drows, a.drows, a.weight, a.dweight, a.row_of_slot, a.slot_of_row})};
}

void route_forward(Context& ctx, const RouteForward& a) {
  require(a.groups >= 1 && a.logits.cols() % a.groups == 0 && 1 <= a.top_groups && a.top_groups <= a.groups &&
              a.expert.cols() <= a.top_groups * (a.logits.cols() / a.groups),
          "route_forward: groups do not divide the experts, or the best of them hold fewer than top_k");
  check_choice(a);
  check_optional(a.bias, a.logits.dtype, {a.logits.cols()}, "route_forward: bias");
  dispatch(ctx, "route_forward", a,
           {.reference = reference::route_forward,
            .cpu = cpu::route_forward,
            .cuda = if_cuda<cuda::route_forward>()});
}

void route_backward(Context& ctx, const RouteBackward& a) {
  check_choice(a);
  check_rows(a.dweight, a.logits.dtype, a.logits.rows(), a.expert.cols(),
             "route_backward: dweight is not like weight");
  check_rows(a.dlogits, a.logits.dtype, a.logits.rows(), a.logits.cols(),
             "route_backward: dlogits is not like logits");
  check_optional(a.balance, a.logits.dtype, {a.logits.cols()}, "route_backward: balance");
  dispatch(ctx, "route_backward", a,
           {.reference = reference::route_backward,
            .cpu = cpu::route_backward,
            .cuda = if_cuda<cuda::route_backward>()});
}

// The tally and the permutation cost a few additions a slot. Backend cpu uses the reference version; backend
// cuda sums scores on the device, and counts and sorts on the host.
void route_tally(Context& ctx, const RouteTally& a) {
  const int64_t tokens = a.scores.rows(), experts = a.scores.cols();
  check_rows(a.expert, Dtype::kI32, tokens, a.expert.cols(), "route_tally: expert is not [T, k] i32");
  check_flat(a.logsumexp, a.scores.dtype, tokens,
             "route_tally: logsumexp is not a dense [T] in the dtype of scores");
  check_dense(a.counts, Dtype::kF64, {experts}, "route_tally: counts");
  check_dense(a.score_sum, Dtype::kF64, {experts}, "route_tally: score_sum");
  check_flat(a.squared_logsumexp, Dtype::kF64, 1, "route_tally: squared_logsumexp is not one f64");
  dispatch(ctx, "route_tally", a,
           {.reference = reference::route_tally,
            .cpu = reference::route_tally,
            .cuda = if_cuda<cuda::route_tally>()});
}

void route_permutation(Context& ctx, const RoutePermutation& a) {
  const int64_t slots = a.expert.count();
  check_flat(a.expert, Dtype::kI32, slots, "route_permutation: expert is not a dense [T, k] i32");
  check_flat(a.row_of_slot, Dtype::kI64, slots, "route_permutation: row_of_slot is not a dense [T, k] i64");
  check_flat(a.slot_of_row, Dtype::kI64, slots, "route_permutation: slot_of_row is not a dense [T k] i64");
  require(a.offsets.size() >= 2, "route_permutation: offsets has no room for E + 1 numbers");
  if (ctx.dry()) even_offsets(a);
  dispatch(ctx, "route_permutation", a,
           {.reference = reference::route_permutation,
            .cpu = reference::route_permutation,
            .cuda = if_cuda<cuda::route_permutation>()});
}

void gather_rows(Context& ctx, const GatherRows& a) {
  require(a.x && a.top_k >= 1, "gather_rows: no x, or top_k below one");
  check_flat(a.slot_of_row, Dtype::kI64, a.rows.rows(), "gather_rows: slot_of_row is not a dense [R] i64");
  check_rows(a.rows, a.x.dtype, a.slot_of_row.count(), a.x.cols(),
             "gather_rows: rows are not [R, D] in the dtype of x");
  dispatch(
      ctx, "gather_rows", a,
      {.reference = reference::gather_rows, .cpu = cpu::gather_rows, .cuda = if_cuda<cuda::gather_rows>()});
}

void gather_rows_backward(Context& ctx, const GatherRowsBackward& a) {
  check_slots(a.row_of_slot, a.dx.rows(), "gather_rows_backward: row_of_slot is not a dense [T, k] i64");
  check_rows(a.drows, a.dx.dtype, a.drows.rows(), a.dx.cols(),
             "gather_rows_backward: drows are not [R, D] like dx");
  dispatch(ctx, "gather_rows_backward", a,
           {.reference = reference::gather_rows_backward,
            .cpu = cpu::gather_rows_backward,
            .cuda = if_cuda<cuda::gather_rows_backward>()});
}

void combine_rows(Context& ctx, const CombineRows& a) {
  const int64_t top_k = a.top_k();
  if (a.row_of_slot) {
    check_slots(a.row_of_slot, a.y.rows(), "combine_rows: row_of_slot is not a dense [T, k] i64");
  } else {
    require(a.rows.rows() == a.y.rows() * top_k, "combine_rows: not a row for each slot");
  }
  check_rows(a.rows, a.y.dtype, a.rows.rows(), a.y.cols(), "combine_rows: rows are not [R, D] like y");
  check_rows(a.weight, wide(a.y.dtype), a.y.rows(), top_k, "combine_rows: weight is not [T, k] like y");
  dispatch(ctx, "combine_rows", a,
           {.reference = reference::combine_rows,
            .cpu = cpu::combine_rows,
            .cuda = if_cuda<cuda::combine_rows>()});
}

void combine_rows_backward(Context& ctx, const CombineRowsBackward& a) {
  const int64_t tokens = a.dy.rows(), rows = a.rows.rows(), top_k = a.row_of_slot.cols();
  check_slots(a.row_of_slot, tokens, "combine_rows_backward: row_of_slot is not a dense [T, k] i64");
  check_flat(a.slot_of_row, Dtype::kI64, rows, "combine_rows_backward: slot_of_row is not a dense [R] i64");
  check_rows(a.rows, a.dy.dtype, rows, a.dy.cols(), "combine_rows_backward: rows are not [R, D] like dy");
  check_rows(a.drows, a.dy.dtype, rows, a.dy.cols(), "combine_rows_backward: drows are not [R, D] like dy");
  check_rows(a.weight, wide(a.dy.dtype), tokens, top_k,
             "combine_rows_backward: weight is not [T, k] like dy");
  check_rows(a.dweight, wide(a.dy.dtype), tokens, top_k,
             "combine_rows_backward: dweight is not [T, k] like dy");
  dispatch(ctx, "combine_rows_backward", a,
           {.reference = reference::combine_rows_backward,
            .cpu = cpu::combine_rows_backward,
            .cuda = if_cuda<cuda::combine_rows_backward>()});
}

}  // namespace natrix
