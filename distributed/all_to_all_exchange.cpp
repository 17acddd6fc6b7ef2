#include "distributed/all_to_all_exchange.h"

#include <numeric>

namespace natrix {
namespace {

int64_t sum(const std::vector<int64_t>& v) {
  return std::accumulate(v.begin(), v.end(), int64_t{0});
}

/// Calls f(row by (source, expert), row by (expert, source), rows) for every piece at the owner.
template <class F>
void each_piece(const RowPlan& plan, F&& f) {
  const auto experts = static_cast<int64_t>(plan.expert_offsets.size()) - 1;
  const auto sources = static_cast<int64_t>(plan.receive.size());
  std::vector<int64_t> next(plan.expert_offsets.begin(), plan.expert_offsets.end() - 1);
  int64_t arrived = 0;
  for (int64_t s = 0; s < sources; ++s) {
    for (int64_t e = 0; e < experts; ++e) {
      const int64_t n = plan.pieces[static_cast<size_t>(s * experts + e)];
      if (n > 0) f(arrived, next[static_cast<size_t>(e)], n);
      arrived += n;
      next[static_cast<size_t>(e)] += n;
    }
  }
}

RowPlan reversed(const RowPlan& plan) {
  return {.send = plan.receive, .receive = plan.send, .expert_offsets = {}, .pieces = {}};
}

}  // namespace

RowPlan AllToAllExchange::plan(Context& ctx, std::span<const int64_t> home_offsets) {
  const auto experts = static_cast<int64_t>(home_offsets.size()) - 1;
  const int64_t ranks = axis_.size(), first = first_expert(experts), owned = owned_experts(experts);
  const Buffer mine_buffer(Dtype::kI64, {experts}), all_buffer(Dtype::kI64, {ranks, experts});
  const View mine = mine_buffer.view(), all = all_buffer.view();  // with the host, which reads them
  for (int64_t e = 0; e < experts; ++e) {
    mine.as<int64_t>()[e] = home_offsets[static_cast<size_t>(e) + 1] - home_offsets[static_cast<size_t>(e)];
  }
  axis_.all_gather(ctx, mine, all);

  RowPlan plan;
  for (int64_t p = 0; p < ranks; ++p) {
    plan.send.push_back(home_offsets[static_cast<size_t>(first_of(experts, p + 1))] -
                        home_offsets[static_cast<size_t>(first_of(experts, p))]);
    const int64_t* counts = all.row<int64_t>(p) + first;
    plan.pieces.insert(plan.pieces.end(), counts, counts + owned);
    plan.receive.push_back(std::accumulate(counts, counts + owned, int64_t{0}));
  }
  plan.expert_offsets.assign(1, 0);
  for (int64_t e = 0; e < owned; ++e) {
    int64_t rows = 0;
    for (int64_t p = 0; p < ranks; ++p) rows += plan.pieces[static_cast<size_t>(p * owned + e)];
    plan.expert_offsets.push_back(plan.expert_offsets.back() + rows);
  }
  return plan;
}

View AllToAllExchange::forward(Context& ctx, const RowPlan& plan, View rows) {
  View sorted = ctx.arena().take(rows.dtype, {sum(plan.receive), rows.cols()});
  Arena::Frame frame(ctx.arena());
  View arrived = ctx.arena().like(sorted);
  axis_.all_to_all(ctx, rows, arrived, plan);
  each_piece(plan, [&](int64_t from, int64_t to, int64_t n) {
    copy(arrived.row_range(from, n), sorted.row_range(to, n));
  });
  return sorted;
}

View AllToAllExchange::reverse(Context& ctx, const RowPlan& plan, View rows) {
  View home = ctx.arena().take(rows.dtype, {sum(plan.send), rows.cols()});
  Arena::Frame frame(ctx.arena());
  View leaving = ctx.arena().like(rows);
  each_piece(plan, [&](int64_t to, int64_t from, int64_t n) {
    copy(rows.row_range(from, n), leaving.row_range(to, n));
  });
  axis_.all_to_all(ctx, leaving, home, reversed(plan));
  return home;
}

}  // namespace natrix
