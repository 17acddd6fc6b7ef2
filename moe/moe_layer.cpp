#include "moe/moe_layer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/activation.h"
#include "kernels/base/transfer.h"
#include "kernels/routing.h"

namespace natrix {
namespace {

/// Expert offsets within the rows of one go, for all experts of this rank. Experts of the
/// other go have no rows.
std::vector<int64_t> offsets_of(const RowPlan& plan, const RowPlan::Go& go) {
  const auto [first, last] = plan.owner_rows(go);
  std::vector<int64_t> offsets;
  for (int64_t o : plan.expert_offsets) offsets.push_back(std::clamp(o, first, last) - first);
  return offsets;
}

}  // namespace

MoeLayer::MoeLayer(const ModelConfig& config, int sublayer, const std::string& prefix, RowExchange& exchange)
    : config_(config.moe),
      exchange_(exchange),
      router_(config, sublayer, prefix),
      experts_(config, exchange.first_expert(config.moe.num_experts),
               exchange.owned_experts(config.moe.num_experts), prefix) {
  if (config_.shared_experts > 0) {
    shared_ = std::make_unique<Mlp>(config.d_model,
                                    config_.shared_experts * config_.shared_d_ff.value_or(config_.d_ff),
                                    config_.activation, prefix + "shared_experts.");
  }
  if (config_.latent) {
    down_ = std::make_unique<Linear>(prefix + "fc1_latent_proj", config.d_model, *config_.latent, false);
    up_ = std::make_unique<Linear>(prefix + "fc2_latent_proj", *config_.latent, config.d_model, false,
                                   Init::kResidualOut);
  }
}

void MoeLayer::visit(const ParamVisitor& visitor) {
  router_.visit(visitor);
  experts_.visit(visitor);
  if (shared_) shared_->visit(visitor);
  if (down_) down_->visit(visitor);
  if (up_) up_->visit(visitor);
}

int64_t MoeLayer::active_parameters() {
  int64_t all = Layer::active_parameters();
  experts_.visit([&](const Param& p) {
    const int64_t n = whole_shape(p).count();
    all -= n - n / config_.num_experts * config_.top_k;
  });
  return all;
}

int64_t MoeLayer::capacity(int64_t tokens) const {
  if (!config_.capacity_factor) return -1;
  return static_cast<int64_t>(
      std::ceil(*config_.capacity_factor * static_cast<double>(tokens * config_.top_k) /
                static_cast<double>(config_.num_experts)));
}

void MoeLayer::stand_in_order(Context& ctx, Saved& s, std::span<const int64_t> offsets) {
  if (s.plan.home_order.empty() || ctx.dry()) return;
  const OnHost by_number(ctx, s.slot_of_row);
  const Buffer slots(Dtype::kI64, {offsets.back()}), rows(Dtype::kI64, s.row_of_slot.shape);
  download(ctx, s.row_of_slot, rows.view());
  int64_t* slot_of_row = slots.view().as<int64_t>();
  int64_t row = 0;
  for (const int64_t e : s.plan.home_order) {
    for (int64_t r = offsets[static_cast<size_t>(e)]; r < offsets[static_cast<size_t>(e) + 1]; ++r, ++row) {
      slot_of_row[row] = by_number.view().as<int64_t>()[r];
      rows.view().as<int64_t>()[slot_of_row[row]] = row;
    }
  }
  upload(ctx, slots.view(), s.slot_of_row);
  upload(ctx, rows.view(), s.row_of_slot);
}

/// True where this process owns all experts, none drops tokens, and there are few choices: reading an
/// expert's weights once per choice then costs little more than reading them once.
bool MoeLayer::runs_ahead(int64_t tokens) const {
  constexpr int64_t kFewChoices = 64;
  return tokens * config_.top_k <= kFewChoices && !config_.capacity_factor &&
         exchange_.owned_experts(config_.num_experts) == config_.num_experts;
}

View MoeLayer::forward_few(Pass& p, View x) const {
  const MoeRouter::Choice choice = router_.forward(p, x);
  const View latent = to_experts(p, x);
  View y = p.arena().like(latent);
  combine_rows(p.ctx,
               {.rows = experts_.forward_chosen(p, latent, choice.expert), .weight = choice.weight, .y = y});
  if (up_) y = up_->forward(p, y);
  if (shared_) accumulate(p.ctx, {.x = shared_->forward(p, x), .y = y});
  return y;
}

MoeLayer::Saved MoeLayer::route(Pass& p, View x, std::span<int64_t> offsets) const {
  const int64_t tokens = x.rows(), slots = tokens * config_.top_k;
  Saved s{.x = x, .choice = router_.forward(p, x)};
  // The only point of a layer's forward pass where the host waits: the sizes of all that
  // follows depend on it.
  const OnHost chosen(p.ctx, s.choice.expert);
  router_.count(p, s.choice, chosen.view());
  s.row_of_slot = p.arena().take(Dtype::kI64, {tokens, config_.top_k});
  s.slot_of_row = p.arena().take(Dtype::kI64, {slots});
  route_permutation(p.ctx, {.expert = chosen.view(),
                            .capacity = capacity(tokens),
                            .row_of_slot = s.row_of_slot,
                            .slot_of_row = s.slot_of_row,
                            .offsets = offsets});
  const int64_t kept = offsets.back();
  s.slot_of_row = View(s.slot_of_row.data, Dtype::kI64, {kept});
  if (p.visit == Visit::kFirst)
    p.tally.layer(router_.sublayer(), config_.num_experts).dropped += slots - kept;
  return s;
}

void MoeLayer::pass_over(Pass& p, View x) const {
  std::vector<int64_t> offsets(static_cast<size_t>(config_.num_experts) + 1);
  route(p, x, offsets);
}

View MoeLayer::forward(Pass& p, View x) const {
  const bool only_reads = !p.keeps() && p.visit == Visit::kAgain;
  if (only_reads && p.ctx.memory() == Memory::kDevice && runs_ahead(x.rows())) return forward_few(p, x);
  std::vector<int64_t> offsets(static_cast<size_t>(config_.num_experts) + 1);
  Saved s = route(p, x, offsets);
  s.latent = to_experts(p, x);
  const int64_t width = s.latent.cols();
  s.plan = exchange_.plan(p.ctx, offsets, width * size_of(x.dtype));
  stand_in_order(p.ctx, s, offsets);
  View rows = p.arena().take(x.dtype, {offsets.back(), width});
  gather_rows(p.ctx, {.x = s.latent, .slot_of_row = s.slot_of_row, .top_k = config_.top_k, .rows = rows});
  s.rows = exchange_.room_at_owner(p.ctx, s.plan, rows);
  s.hidden = p.arena().take(x.dtype, {s.rows.rows(), experts_.hidden_width()});
  View out = p.arena().like(s.rows);
  s.out = exchange_.room_at_home(p.ctx, s.plan, out);
  there_and_back(
      p.ctx, exchange_, s.plan, {.home_in = rows, .owner_in = s.rows, .owner_out = out, .home_out = s.out},
      [&](const RowPlan::Go& go, int64_t first, int64_t last, const Experts::Between& between) {
        const auto part = [&](View v) { return v.row_range(first, last - first); };
        experts_.forward(p, part(s.rows), offsets_of(s.plan, go), part(s.hidden), part(out), between);
      });

  View y = p.arena().like(s.latent);
  combine_rows(p.ctx, {.rows = s.out, .row_of_slot = s.row_of_slot, .weight = s.choice.weight, .y = y});
  s.mixed = y;
  if (up_) y = up_->forward(p, y);
  if (p.keeps()) p.saved.push(std::move(s));
  if (shared_) accumulate(p.ctx, {.x = shared_->forward(p, x), .y = y});
  return y;
}

View MoeLayer::backward(Pass& p, View dy) {
  View dx_shared = shared_ ? shared_->backward(p, dy) : View{};
  const Saved s = p.saved.pop<Saved>();
  const View dmixed = up_ ? up_->backward(p, s.mixed, dy) : dy;

  View dout = p.arena().like(s.out), dweight = p.arena().like(s.choice.weight);
  combine_rows_backward(p.ctx, {.rows = s.out,
                                .row_of_slot = s.row_of_slot,
                                .slot_of_row = s.slot_of_row,
                                .weight = s.choice.weight,
                                .dy = dmixed,
                                .drows = dout,
                                .dweight = dweight});
  View dout_at_owner = exchange_.room_at_owner(p.ctx, s.plan, dout);
  View drows_at_owner = p.arena().like(dout_at_owner);
  View drows = exchange_.room_at_home(p.ctx, s.plan, drows_at_owner);
  there_and_back(p.ctx, exchange_, s.plan,
                 {.home_in = dout, .owner_in = dout_at_owner, .owner_out = drows_at_owner, .home_out = drows},
                 [&](const RowPlan::Go& go, int64_t first, int64_t last, const Experts::Between& between) {
                   const auto part = [&](View v) { return v.row_range(first, last - first); };
                   experts_.backward(p, part(s.rows), part(s.hidden), offsets_of(s.plan, go),
                                     part(dout_at_owner), part(drows_at_owner), between);
                 });

  View dlatent = p.arena().like(s.latent);
  gather_rows_backward(p.ctx, {.drows = drows, .row_of_slot = s.row_of_slot, .dx = dlatent});
  View dx = down_ ? down_->backward(p, s.x, dlatent) : dlatent;
  router_.backward(p, s.x, s.choice, dweight, dx);
  if (dx_shared) accumulate(p.ctx, {.x = dx_shared, .y = dx});
  return dx;
}

}  // namespace natrix
