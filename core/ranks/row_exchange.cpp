#include "core/ranks/row_exchange.h"

namespace natrix {
namespace {

/// The result of a transfer in which nothing moves.
class Arrived final : public RowsUnderWay {
 public:
  void poll() override {}
  void arrive() override {}
};

}  // namespace

void there_and_back(Context& ctx, RowExchange& exchange, const RowPlan& plan, const RowTravel& rows,
                    const GoWork& work) {
  Arena::Frame frame(ctx.arena());
  std::vector<std::unique_ptr<RowsUnderWay>> there, back;
  const auto move_on = [&] {
    for (auto* way : {&there, &back}) {
      for (const auto& go : *way) go->poll();
    }
  };
  for (size_t g = 0; g < plan.goes.size(); ++g) {
    there.push_back(exchange.start_forward(ctx, plan, g, rows.home_in, rows.owner_in));
  }
  for (size_t g = 0; g < plan.goes.size(); ++g) {
    there[g]->arrive();
    const auto [first, last] = plan.owner_rows(plan.goes[g]);
    work(plan.goes[g], first, last, move_on);
    back.push_back(exchange.start_reverse(ctx, plan, g, rows.owner_out, rows.home_out));
  }
  for (const auto& go : back) go->arrive();
}

RowPlan LocalExchange::plan(Context&, std::span<const int64_t> home_offsets, int64_t) {
  const int64_t rows = home_offsets.back(), experts = static_cast<int64_t>(home_offsets.size()) - 1;
  return {
      .send = {rows},
      .receive = {rows},
      .expert_offsets = {home_offsets.begin(), home_offsets.end()},
      .pieces = {},
      .goes =
          {{.send = {rows}, .receive = {rows}, .home_first = 0, .first_expert = 0, .last_expert = experts}},
      .home_order = {}};
}

std::unique_ptr<RowsUnderWay> LocalExchange::start_forward(Context&, const RowPlan&, size_t, View, View) {
  return std::make_unique<Arrived>();
}
std::unique_ptr<RowsUnderWay> LocalExchange::start_reverse(Context&, const RowPlan&, size_t, View, View) {
  return std::make_unique<Arrived>();
}

}  // namespace natrix
