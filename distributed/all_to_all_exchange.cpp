#include "distributed/all_to_all_exchange.h"

#include <numeric>

namespace natrix {
namespace {

int64_t sum(const std::vector<int64_t>& v) {
  return std::accumulate(v.begin(), v.end(), int64_t{0});
}

/// Calls f(row by (source, expert), row by (expert, source), rows) for every piece of a go at the owner. Both
/// rows count from the go's first row.
template <class F>
void each_piece(const RowPlan& plan, const RowPlan::Go& go, F&& f) {
  const auto experts = static_cast<int64_t>(plan.expert_offsets.size()) - 1;
  const auto sources = static_cast<int64_t>(plan.receive.size());
  const int64_t begin = plan.owner_rows(go).first;
  std::vector<int64_t> next(plan.expert_offsets.begin(), plan.expert_offsets.end() - 1);
  int64_t arrived = 0;
  for (int64_t s = 0; s < sources; ++s) {
    for (int64_t e = go.first_expert; e < go.last_expert; ++e) {
      const int64_t n = plan.pieces[static_cast<size_t>(s * experts + e)];
      if (n > 0) f(arrived, next[static_cast<size_t>(e)] - begin, n);
      arrived += n;
      next[static_cast<size_t>(e)] += n;
    }
  }
}

/// Copies the rows of a go into another order: copy_piece(from, to, rows) for every piece. A dry run counts
/// them all at once.
template <class F>
void reorder(Context& ctx, const RowPlan& plan, const RowPlan::Go& go, View rows, F&& copy_piece) {
  if (ctx.dry()) return ctx.ledger().add({.bytes = bytes_of({rows, rows})});
  each_piece(plan, go, copy_piece);
}

View rows_of_go(const RowPlan& plan, const RowPlan::Go& go, View owner) {
  const auto [first, last] = plan.owner_rows(go);
  return owner.row_range(first, last - first);
}

View home_of_go(const RowPlan::Go& go, View home) {
  return home.row_range(go.home_first, sum(go.send));
}

class GoUnderWay final : public RowsUnderWay {
 public:
  GoUnderWay(Pending messages, std::function<void()> settle)
      : messages_(std::move(messages)), settle_(std::move(settle)) {}
  void poll() override { messages_.poll(); }
  void arrive() override {
    messages_.wait();
    if (settle_) settle_();
    settle_ = nullptr;
  }

 private:
  Pending messages_;
  std::function<void()> settle_;  // sorts the rows that have arrived
};

}  // namespace

std::pair<int64_t, int64_t> AllToAllExchange::experts_of(int64_t num_experts, int64_t rank, int64_t go,
                                                         int64_t goes) const {
  const int64_t first = first_of(num_experts, rank), last = first_of(num_experts, rank + 1);
  const int64_t middle = goes == 1 ? last : first + (last - first + 1) / 2;
  return go == 0 ? std::pair(first, middle) : std::pair(middle, last);
}

RowPlan AllToAllExchange::plan(Context& ctx, std::span<const int64_t> home_offsets, int64_t row_bytes) {
  const auto experts = static_cast<int64_t>(home_offsets.size()) - 1;
  const int64_t ranks = axis_.size(), first = first_expert(experts), owned = owned_experts(experts);
  const auto at_home = [&](int64_t e) {
    return home_offsets[static_cast<size_t>(e) + 1] - home_offsets[static_cast<size_t>(e)];
  };
  const Buffer mine_buffer(Dtype::kI64, {experts}), all_buffer(Dtype::kI64, {ranks, experts});
  const View mine = mine_buffer.view(), all = all_buffer.view();  // in host memory, as the host reads them
  for (int64_t e = 0; e < experts; ++e) mine.as<int64_t>()[e] = at_home(e);
  axis_.all_gather(ctx, mine, all);

  RowPlan plan;
  plan.expert_offsets.assign(1, 0);
  for (int64_t p = 0; p < ranks; ++p) {
    const int64_t* counts = all.row<int64_t>(p) + first;
    plan.pieces.insert(plan.pieces.end(), counts, counts + owned);
  }
  for (int64_t e = 0; e < owned; ++e) {
    int64_t rows = 0;
    for (int64_t p = 0; p < ranks; ++p) rows += plan.pieces[static_cast<size_t>(p * owned + e)];
    plan.expert_offsets.push_back(plan.expert_offsets.back() + rows);
  }
  plan.send.assign(static_cast<size_t>(ranks), 0);
  plan.receive = plan.send;
  const int64_t rows_of_all = std::accumulate(all.as<int64_t>(), all.as<int64_t>() + all.count(), int64_t{0});
  const int64_t goes = goes_of(experts, ranks, rows_of_all * row_bytes, least_message_);
  int64_t home = 0;
  for (int64_t g = 0; g < goes; ++g) {
    RowPlan::Go go{.send = {}, .receive = {}, .home_first = home};
    const auto [own_first, own_last] = experts_of(experts, axis_.rank(), g, goes);
    go.first_expert = own_first - first;
    go.last_expert = own_last - first;
    for (int64_t p = 0; p < ranks; ++p) {
      const auto [from, to] = experts_of(experts, p, g, goes);
      int64_t rows = 0;
      for (int64_t e = from; e < to; ++e) rows += at_home(e);
      for (int64_t e = from; e < to && goes > 1; ++e) plan.home_order.push_back(e);
      const int64_t* counts = plan.pieces.data() + p * owned;
      go.send.push_back(rows);
      go.receive.push_back(std::accumulate(counts + go.first_expert, counts + go.last_expert, int64_t{0}));
      plan.send[static_cast<size_t>(p)] += go.send.back();
      plan.receive[static_cast<size_t>(p)] += go.receive.back();
      home += rows;
    }
    plan.goes.push_back(std::move(go));
  }
  return plan;
}

View AllToAllExchange::room_at_owner(Context& ctx, const RowPlan& plan, View rows) {
  return ctx.arena().take(rows.dtype, {sum(plan.receive), rows.cols()});
}

View AllToAllExchange::room_at_home(Context& ctx, const RowPlan& plan, View rows) {
  return ctx.arena().take(rows.dtype, {sum(plan.send), rows.cols()});
}

std::unique_ptr<RowsUnderWay> AllToAllExchange::start_forward(Context& ctx, const RowPlan& plan, size_t g,
                                                              View home, View owner) {
  const RowPlan::Go& go = plan.goes[g];
  const View sorted = rows_of_go(plan, go, owner), arrived = ctx.arena().like(sorted);
  Pending messages = axis_.start_all_to_all(ctx, home_of_go(go, home), arrived, {go.send, go.receive});
  return std::make_unique<GoUnderWay>(std::move(messages), [&ctx, &plan, &go, arrived, sorted] {
    reorder(ctx, plan, go, sorted, [&](int64_t from, int64_t to, int64_t n) {
      copy(arrived.row_range(from, n), sorted.row_range(to, n));
    });
  });
}

std::unique_ptr<RowsUnderWay> AllToAllExchange::start_reverse(Context& ctx, const RowPlan& plan, size_t g,
                                                              View owner, View home) {
  const RowPlan::Go& go = plan.goes[g];
  const View sorted = rows_of_go(plan, go, owner), leaving = ctx.arena().like(sorted);
  reorder(ctx, plan, go, sorted, [&](int64_t to, int64_t from, int64_t n) {
    copy(sorted.row_range(from, n), leaving.row_range(to, n));
  });
  return std::make_unique<GoUnderWay>(
      axis_.start_all_to_all(ctx, leaving, home_of_go(go, home), {go.receive, go.send}), nullptr);
}

}  // namespace natrix
