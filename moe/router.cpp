#include "moe/router.h"

#include <algorithm>

#include "kernels/activation.h"
#include "kernels/base/transfer.h"
#include "kernels/matmul.h"
#include "kernels/routing.h"

namespace natrix {
namespace {

RouterScore score_of(const MoeConfig& c) {
  return c.router == Router::kSoftmax ? RouterScore::kSoftmax : RouterScore::kSigmoid;
}

/// The router computes in f32, whatever the dtype of activations.
View widened(Pass& p, View x) {
  if (wide(x.dtype) == x.dtype) return x;
  View y = p.arena().take(wide(x.dtype), x.shape);
  cast(p.ctx, {.from = x, .to = y});
  return y;
}

}  // namespace

MoeRouter::MoeRouter(const ModelConfig& config, int sublayer, const std::string& prefix)
    : config_(config.moe),
      sublayer_(sublayer),
      gate_(prefix + "router", config.d_model, config.moe.num_experts, false),
      bias_(make_param(prefix + "router.e_score_correction_bias", {config.moe.num_experts}, Init::kZeros,
                       false)) {
  bias_.trainable = false;
  // The weight is small, and near a tie one bit of it decides which expert is chosen.
  gate_.weight.packs = gate_.weight.rounds = false;
}

void MoeRouter::visit(const ParamVisitor& visitor) {
  gate_.visit(visitor);
  if (has_bias()) visitor(bias_);
}

MoeRouter::Choice MoeRouter::forward(Pass& p, View activations) const {
  const View x = widened(p, activations);
  const int64_t tokens = x.rows();
  Choice c{.logits = gate_.forward(p, x),
           .scores = p.arena().take(x.dtype, {tokens, config_.num_experts}),
           .expert = p.arena().take(Dtype::kI32, {tokens, config_.top_k}),
           .weight = p.arena().take(x.dtype, {tokens, config_.top_k}),
           .logsumexp = p.arena().take(x.dtype, {tokens})};
  route_forward(p.ctx, {.logits = c.logits,
                        .bias = has_bias() ? bias_.value : View{},
                        .score = score_of(config_),
                        .renormalize = config_.renormalize,
                        .scale = config_.routed_scaling,
                        .groups = config_.groups,
                        .top_groups = std::min(config_.top_groups, config_.groups),
                        .scores = c.scores,
                        .expert = c.expert,
                        .weight = c.weight,
                        .logsumexp = c.logsumexp});
  return c;
}

void MoeRouter::count(Pass& p, const Choice& c, View chosen) const {
  if (p.visit == Visit::kFirst) {
    StepTally::Layer& t = p.tally.layer(sublayer_, config_.num_experts);
    route_tally(p.ctx, {.scores = c.scores,
                        .expert = chosen,
                        .logsumexp = c.logsumexp,
                        .score = score_of(config_),
                        .counts = t.counts.view(),
                        .score_sum = t.score_sum.view(),
                        .squared_logsumexp = t.squared_logsumexp.view()});
  }
  if (p.keeps() || p.visit == Visit::kFirst) p.tally.witness(p.segment.index, sublayer_, chosen);
}

View MoeRouter::balance(Pass& p) const {
  if (config_.aux_loss_coef == 0) return {};
  const auto tokens = static_cast<double>(p.tally.tokens());
  const auto experts = static_cast<double>(config_.num_experts);
  const double* n = p.tally.layer(sublayer_, config_.num_experts).counts.view().as<double>();
  const Buffer b(gate_.weight.value.dtype, {config_.num_experts});
  for_float(b.view().dtype, [&](auto zero) {
    for (int64_t e = 0; e < config_.num_experts; ++e) {
      const double share = n[e] / (tokens * static_cast<double>(config_.top_k));  // f_e
      b.view().as<decltype(zero)>()[e] =
          static_cast<decltype(zero)>(config_.aux_loss_coef * experts * share / tokens);
    }
  });
  View there = p.arena().like(b.view());
  upload(p.ctx, b.view(), there);
  return there;
}

void MoeRouter::backward(Pass& p, View x, const Choice& c, View dweight, View dx) {
  View dlogits = p.arena().like(c.logits);
  route_backward(p.ctx, {.logits = c.logits,
                         .scores = c.scores,
                         .expert = c.expert,
                         .weight = c.weight,
                         .logsumexp = c.logsumexp,
                         .score = score_of(config_),
                         .renormalize = config_.renormalize,
                         .scale = config_.routed_scaling,
                         .dweight = dweight,
                         .balance = balance(p),
                         .z_scale = config_.z_loss_coef / static_cast<double>(p.tally.tokens()),
                         .dlogits = dlogits});
  if (wide(dx.dtype) == dx.dtype) {
    gate_.backward(p, x, dlogits, dx, /*accumulate=*/true);
  } else {
    accumulate(p.ctx, {.x = gate_.backward(p, widened(p, x), dlogits), .y = dx});
  }
}

void MoeRouter::update_bias(const StepTally& tally) {
  const auto it = tally.layers().find(sublayer_);
  if (config_.bias_update_rate == 0 || it == tally.layers().end()) return;
  const double* n = it->second.counts.view().as<double>();
  double mean = 0;
  for (int64_t e = 0; e < config_.num_experts; ++e) mean += n[e] / static_cast<double>(config_.num_experts);
  const OnHost before(bias_.value);
  write_from_host(bias_.value, [&](View after) {
    for_float(after.dtype, [&](auto zero) {
      for (int64_t e = 0; e < config_.num_experts; ++e) {
        const double sign = static_cast<double>(mean > n[e]) - static_cast<double>(mean < n[e]);
        after.as<decltype(zero)>()[e] = before.view().as<decltype(zero)>()[e] +
                                        static_cast<decltype(zero)>(config_.bias_update_rate * sign);
      }
    });
  });
}

}  // namespace natrix
