// Moves rows to the experts and back.
#include "kernels/base/transfer.h"
#include "kernels/cuda/quads.h"
#include "kernels/routing.h"

namespace natrix::cuda {
namespace {

constexpr int64_t kDropped = -1;

/// y[t] (=, +=) Σ_j weight[t, j] · rows[row_of_slot[t, j]]. Without weights they are one. Without slots, rows
/// are in the order of slots.
template <class T>
void sum_rows(Context& ctx, View from, View slots, View weights, View to, bool accumulate) {
  const Rows<T> rows(from), y(to);
  const Rows<float> weight(weights);
  const Rows<int64_t> row_of_slot(slots);
  const int64_t top_k = (slots ? slots : weights).cols();
  for_quads(ctx, to.rows(), to.cols(), {from, to}, [=] __device__(int64_t t, auto d) {
    Quad sum = accumulate ? d.load(y[t]) : all(0);
    for (int64_t j = 0; j < top_k; ++j) {
      const int64_t row = row_of_slot ? row_of_slot[t][j] : t * top_k + j;
      if (row == kDropped) continue;
      const Quad x = d.load(rows[row]);
      const float share = weight ? weight[t][j] : 1.0f;
      for (int k = 0; k < kQuad; ++k) sum[k] += share * x[k];
    }
    d.store(y[t], sum);
  });
}

template <class T>
void gather(Context& ctx, const GatherRows& a) {
  const Rows<T> x(a.x), rows(a.rows);
  const Rows<int64_t> slot_of_row(a.slot_of_row);
  const int64_t top_k = a.top_k;
  for_quads(ctx, a.rows.rows(), a.rows.cols(), {a.x, a.rows},
            [=] __device__(int64_t r, auto d) { d.store(rows[r], d.load(x[slot_of_row.data[r] / top_k])); });
}

template <class T>
void combine_gradient(Context& ctx, const CombineRowsBackward& a) {
  const Rows<T> rows(a.rows), dy(a.dy), drows(a.drows);
  const Rows<float> weight(a.weight), dweight(a.dweight);
  const Rows<int64_t> row_of_slot(a.row_of_slot);
  const int64_t top_k = a.row_of_slot.cols(), slots = a.dy.rows() * top_k;
  for_warp_rows(ctx, slots, a.dy.cols(), {a.rows, a.dy, a.drows}, [=] __device__(int64_t slot, auto columns) {
    const int64_t t = slot / top_k, j = slot % top_k, row = row_of_slot[t][j];
    float dot = 0;
    if (row != kDropped) {
      const float share = weight[t][j];
      columns.for_quads([&](auto d) {
        const Quad gradient = d.load(dy[t]), y = d.load(rows[row]);  // before drows, which may alias rows
        dot += each([&](int k) { return y[k] * gradient[k]; }).sum();
        d.store(drows[row], each([&](int k) { return share * gradient[k]; }));
      });
    }
    dot = warp_sum(dot);
    if (columns.lane == 0) dweight[t][j] = dot;
  });
}

}  // namespace

/// Sorts on the host, which needs the sizes of what follows.
void route_permutation(Context& ctx, const RoutePermutation& a) {
  const OnHost expert(ctx, a.expert);
  Buffer row_of_slot(Dtype::kI64, a.row_of_slot.shape), slot_of_row(Dtype::kI64, a.slot_of_row.shape);
  reference::route_permutation(ctx, {.expert = expert.view(),
                                     .capacity = a.capacity,
                                     .row_of_slot = row_of_slot.view(),
                                     .slot_of_row = slot_of_row.view(),
                                     .offsets = a.offsets});
  upload(ctx, row_of_slot.view(), a.row_of_slot);
  const int64_t rows = a.offsets.back();
  const auto first = [rows](View v) { return View(v.data, v.dtype, {rows}); };
  upload(ctx, first(slot_of_row.view()), first(a.slot_of_row));
}

void gather_rows(Context& ctx, const GatherRows& a) {
  for_io(a.x.dtype, [&](auto zero) { gather<decltype(zero)>(ctx, a); });
}

void gather_rows_backward(Context& ctx, const GatherRowsBackward& a) {
  for_io(a.dx.dtype, [&](auto zero) {
    sum_rows<decltype(zero)>(ctx, a.drows, a.row_of_slot, /*weights=*/{}, a.dx, a.accumulate);
  });
}

void combine_rows(Context& ctx, const CombineRows& a) {
  for_io(a.y.dtype, [&](auto zero) {
    sum_rows<decltype(zero)>(ctx, a.rows, a.row_of_slot, a.weight, a.y, a.accumulate);
  });
}

void combine_rows_backward(Context& ctx, const CombineRowsBackward& a) {
  for_io(a.dy.dtype, [&](auto zero) { combine_gradient<decltype(zero)>(ctx, a); });
}

}  // namespace natrix::cuda
