#include "core/layers/model.h"

#include <algorithm>
#include <optional>

#include "core/layers/linear.h"
#include "core/layers/param_store.h"
#include "core/layers/position.h"
#include "core/layers/scaled.h"
#include "core/layers/weights.h"
#include "kernels/base/range.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"

namespace natrix {

Model::Model(ModelConfig config, const Names& names)
    : config_(std::move(config)),
      embedding_(
          make_param(names.embedding, {config_.vocab_size.value(), config_.d_model}, Init::kNormal, true)),
      final_norm_(make_param(names.final_norm, {config_.d_model}, Init::kOnes, false)),
      head_weight_(make_param(names.head, embedding_.shape, Init::kNormal, true)),
      head_(std::make_unique<LmHead>(config_.tie_embeddings ? embedding_ : head_weight_)) {
  embedding_.packs = head_weight_.packs = true;
  (config_.tie_embeddings ? embedding_ : head_weight_).rounds = true;  // a mere lookup is read in f32
}

Model::~Model() = default;

void Model::append(const std::string& norm_name, std::unique_ptr<Layer> layer) {
  uses_position_ = uses_position_ || layer->uses_position();
  const std::string place = config_.sublayers()[stack_.size()] + " " + std::to_string(stack_.size());
  stack_.push_back({make_param(norm_name, {config_.d_model}, Init::kOnes, false), std::move(layer),
                    place + " forward", place + " backward"});
}

void Model::allocate(Dtype dtype, bool with_gradients, Memory memory) {
  activations_ = dtype;
  store_ = std::make_unique<ParamStore>(params(), dtype, with_gradients, memory);
}

void Model::pack(Context& ctx, WeightFormat format) {
  store_->pack(ctx, format);
}

void Model::keep_rounded() {
  store_->keep_rounded(embedding_);  // lookups read its f32 values, even if it is also the head
}

Dtype Model::dtype() const {
  return final_norm_.value.dtype;
}

void Model::visit(const ParamVisitor& visitor) {
  visitor(embedding_);
  for (Sublayer& s : stack_) {
    visitor(s.norm);
    s.layer->visit(visitor);
  }
  visitor(final_norm_);
  if (!config_.tie_embeddings) visitor(head_weight_);
}

std::vector<Param*> Model::params() {
  std::vector<Param*> all;
  visit([&](Param& p) { all.push_back(&p); });
  return all;
}

std::vector<size_t> Model::first_params() {
  std::vector<size_t> first{1};  // after the embedding
  for (Sublayer& s : stack_) {
    size_t n = 1;  // the norm
    s.layer->visit([&](Param&) { ++n; });
    first.push_back(first.back() + n);
  }
  return first;
}

CarryList Model::carries() const {
  CarryList all;
  if (uses_position_) all.push_back(position_state());
  for (size_t i = 0; i < stack_.size(); ++i) {
    int part = 0;
    for (CarrySpec& spec : stack_[i].layer->carries()) {
      std::string name = "layers." + std::to_string(i) + "." + spec.part;
      all.push_back({{static_cast<int>(i), part++}, std::move(name), std::move(spec)});
    }
  }
  return all;
}

ParameterCount Model::count_parameters() {
  ParameterCount n;
  visit([&](const Param& p) { n.total += whole_shape(p).count(); });
  n.active = n.total;
  for (Sublayer& s : stack_) {
    s.layer->visit([&](const Param& p) { n.active -= whole_shape(p).count(); });
    n.active += s.layer->active_parameters();
  }
  return n;
}

int64_t Model::experts() const {
  int64_t most = 0;
  for (const Sublayer& s : stack_) most = std::max(most, s.layer->experts());
  return most;
}

bool Model::needs_tally() const {
  return std::ranges::any_of(stack_, [](const Sublayer& s) { return s.layer->needs_tally(); });
}

void Model::after_step(const StepTally& tally) {
  for (Sublayer& s : stack_) s.layer->after_step(tally);
}

void Model::zero_gradients(Context& ctx) {
  store_->zero_gradients(ctx);
}

View Model::embed(Pass& p, View tokens) const {
  View x = p.arena().take(dtype(), Shape{p.segment.batch, p.segment.tokens, config_.d_model});
  look_up(p.ctx, tokens, embedding_, x);
  scale_in_place(p, x, config_.embedding_multiplier);
  return x;
}

const Param& Model::norm_after(size_t sublayers) const {
  return sublayers < stack_.size() ? stack_[sublayers].norm : final_norm_;
}

Model::Stream Model::enter(Pass& p, View tokens) const {
  Stream s{.x = embed(p, tokens), .u = {}, .inv_rms = {}};
  s.u = p.arena().take(activations_, s.x.shape);
  if (p.keeps()) s.inv_rms = p.arena().take(s.x.dtype, tokens.shape);
  rms_norm_forward(
      p.ctx,
      {.x = s.x, .weight = norm_after(0).value, .y = s.u, .inv_rms = s.inv_rms, .eps = config_.norm_eps});
  return s;
}

Model::Stream Model::through(Pass& p, size_t i, const Stream& before) const {
  std::optional<Arena::Frame> frame;  // without backward, only x and u outlive a sublayer
  Stream after = before;
  if (p.keeps()) {
    after = {p.arena().like(before.x), p.arena().like(before.u), p.arena().like(before.inv_rms)};
  } else {
    frame.emplace(p.arena());
  }
  View y;
  {
    const Range range(p.ctx, stack_[i].forward_name.c_str());
    y = stack_[i].layer->forward(p, before.u);
    scale_in_place(p, y, config_.residual_multiplier);
  }
  if (p.observe != nullptr) (*p.observe)(p.segment, static_cast<int>(i), y);
  rms_norm_forward(p.ctx, {.x = before.x,
                           .residual = y,
                           .sum = after.x,
                           .weight = norm_after(i + 1).value,
                           .y = after.u,
                           .inv_rms = after.inv_rms,
                           .eps = config_.norm_eps});
  return after;
}

View Model::hidden(Pass& p, View tokens) const {
  if (uses_position_) p.segment.position = enter_positions(p);
  Stream s = enter(p, tokens);
  Saved saved{.tokens = tokens, .sums = {}, .inv_rms = {}};
  const auto save = [&] {
    if (!p.keeps()) return;
    saved.sums.push_back(s.x);
    saved.inv_rms.push_back(s.inv_rms);
  };
  save();
  for (size_t i = 0; i < stack_.size(); ++i) {
    s = through(p, i, s);
    save();
  }
  if (p.observe != nullptr) (*p.observe)(p.segment, static_cast<int>(stack_.size()), s.u);
  if (p.keeps()) p.saved.push(std::move(saved));
  scale_in_place(p, s.u, config_.logits_multiplier);  // the head is linear
  return s.u;
}

void Model::pass_over(Pass& p, View tokens) const {
  size_t end = stack_.size();
  while (end > 0 && !stack_[end - 1].layer->leaves_behind(p.visit)) --end;
  if (uses_position_) p.segment.position = enter_positions(p);
  if (end == 0) return;
  Stream s = enter(p, tokens);
  const size_t last = end - 1;
  for (size_t i = 0; i < last; ++i) s = through(p, i, s);
  const Range range(p.ctx, stack_[last].forward_name.c_str());
  stack_[last].layer->pass_over(p, s.u);
}

bool Model::runs_ahead(int64_t tokens) const {
  if (uses_position_) return false;  // the host waits for carried positions
  return std::ranges::all_of(stack_, [&](const Sublayer& s) { return s.layer->runs_ahead(tokens); });
}

void Model::backward(Pass& p, View dhidden, const GradientsDone& done) {
  const std::vector<size_t> first = done ? first_params() : std::vector<size_t>{};
  const Saved saved = p.saved.pop<Saved>();
  scale_in_place(p, dhidden, config_.logits_multiplier);
  View dx = p.arena().take(dtype(), dhidden.shape);  // the gradient of the residual stream
  View rounded = activations_ == dtype() ? View{} : p.arena().take(activations_, dx.shape);  // dx in bf16
  rms_norm_backward(p.ctx, {.sum = saved.sums.back(),
                            .weight = final_norm_.value,
                            .inv_rms = saved.inv_rms.back(),
                            .dy = dhidden,
                            .dx = dx,
                            .rounded = rounded,
                            .dweight = final_norm_.grad});
  if (done) done(first.back());
  for (size_t i = stack_.size(); i-- > 0;) {
    Arena::Frame frame(p.arena());
    const Range range(p.ctx, stack_[i].backward_name.c_str());
    View dy = scaled(p, rounded ? rounded : dx, config_.residual_multiplier);
    View du = stack_[i].layer->backward(p, dy);
    rms_norm_backward(p.ctx, {.sum = saved.sums[i],
                              .weight = stack_[i].norm.value,
                              .inv_rms = saved.inv_rms[i],
                              .dy = du,
                              .dsum = dx,
                              .dx = dx,
                              .rounded = i > 0 ? rounded : View{},
                              .dweight = stack_[i].norm.grad});
    if (done) done(first[i]);
  }
  embedding_backward(p.ctx, {.tokens = saved.tokens,
                             .dy = scaled(p, dx, config_.embedding_multiplier),
                             .dweight = embedding_.grad});
  visit([](const Param& param) {
    require(!param.grad_unset, "a backward pass left out a weight, or the head did not come before it");
  });
  if (done) done(0);
}

}  // namespace natrix
