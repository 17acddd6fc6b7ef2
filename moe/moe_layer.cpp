#include "moe/moe_layer.h"

#include <cmath>

#include "kernels/activation.h"
#include "kernels/base/transfer.h"
#include "kernels/routing.h"

namespace natrix {

MoeLayer::MoeLayer(const ModelConfig& config, int sublayer, const std::string& prefix, RowExchange& exchange)
    : config_(config.moe),
      exchange_(exchange),
      router_(config, sublayer, prefix),
      experts_(config, exchange.first_expert(config.moe.num_experts),
               exchange.owned_experts(config.moe.num_experts), prefix) {
  if (config_.shared_experts > 0) {
    shared_ = std::make_unique<Mlp>(config.d_model, config_.shared_experts * config_.d_ff, config_.activation,
                                    prefix + "shared_experts.");
  }
}

void MoeLayer::visit(const ParamVisitor& visitor) {
  router_.visit(visitor);
  experts_.visit(visitor);
  if (shared_) shared_->visit(visitor);
}

int64_t MoeLayer::capacity(int64_t tokens) const {
  if (!config_.capacity_factor) return -1;
  return static_cast<int64_t>(
      std::ceil(*config_.capacity_factor * static_cast<double>(tokens * config_.top_k) /
                static_cast<double>(config_.num_experts)));
}

View MoeLayer::forward(Pass& p, View x) const {
  const int64_t tokens = x.rows(), slots = tokens * config_.top_k;
  Saved s{.x = x, .choice = router_.forward(p, x)};
  // The one time in a layer's forward pass that the host waits: what follows depends on the sizes.
  const OnHost chosen(p.ctx, s.choice.expert);
  router_.count(p, s.choice, chosen.view());
  s.row_of_slot = p.arena().take(Dtype::kI64, {tokens, config_.top_k});
  s.slot_of_row = p.arena().take(Dtype::kI64, {slots});
  std::vector<int64_t> offsets(static_cast<size_t>(config_.num_experts) + 1);
  route_permutation(p.ctx, {.expert = chosen.view(),
                            .capacity = capacity(tokens),
                            .row_of_slot = s.row_of_slot,
                            .slot_of_row = s.slot_of_row,
                            .offsets = offsets});
  const int64_t kept = offsets.back();
  s.slot_of_row = View(s.slot_of_row.data, Dtype::kI64, {kept});
  if (p.visit == Visit::kFirst)
    p.tally.layer(router_.sublayer(), config_.num_experts).dropped += slots - kept;

  View rows = p.arena().take(x.dtype, {kept, x.cols()});
  gather_rows(p.ctx, {.x = x, .slot_of_row = s.slot_of_row, .top_k = config_.top_k, .rows = rows});
  s.plan = exchange_.plan(p.ctx, offsets);
  s.rows = exchange_.forward(p.ctx, s.plan, rows);
  View out = experts_.forward(p, s.rows, s.plan.expert_offsets, s.hidden);
  s.out = exchange_.reverse(p.ctx, s.plan, out);

  View y = p.arena().like(x);
  combine_rows(p.ctx, {.rows = s.out, .row_of_slot = s.row_of_slot, .weight = s.choice.weight, .y = y});
  if (p.keeps()) p.saved.push(std::move(s));
  if (shared_) accumulate(p.ctx, {.x = shared_->forward(p, x), .y = y});
  return y;
}

View MoeLayer::backward(Pass& p, View dy) {
  View dx_shared = shared_ ? shared_->backward(p, dy) : View{};
  const Saved s = p.saved.pop<Saved>();

  View dout = p.arena().like(s.out), dweight = p.arena().like(s.choice.weight);
  combine_rows_backward(p.ctx, {.rows = s.out,
                                .row_of_slot = s.row_of_slot,
                                .slot_of_row = s.slot_of_row,
                                .weight = s.choice.weight,
                                .dy = dy,
                                .drows = dout,
                                .dweight = dweight});
  View dout_at_owner = exchange_.forward(p.ctx, s.plan, dout);
  View drows_at_owner = experts_.backward(p, s.rows, s.hidden, s.plan.expert_offsets, dout_at_owner);
  View drows = exchange_.reverse(p.ctx, s.plan, drows_at_owner);

  View dx = p.arena().like(s.x);
  gather_rows_backward(p.ctx, {.drows = drows, .row_of_slot = s.row_of_slot, .dx = dx});
  router_.backward(p, s.x, s.choice, dweight, dx);
  if (dx_shared) accumulate(p.ctx, {.x = dx_shared, .y = dx});
  return dx;
}

}  // namespace natrix
