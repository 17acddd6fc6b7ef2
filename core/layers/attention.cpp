#include "core/layers/attention.h"

#include <cmath>
#include <fmt/format.h>

#include "kernels/attention.h"
#include "kernels/rotary.h"

namespace natrix {
namespace {

RotaryScaling scaling_of(Rope rope) {
  switch (rope) {
    case Rope::kNone:
    case Rope::kDefault: return RotaryScaling::kNone;
    case Rope::kLinear: return RotaryScaling::kLinear;
    case Rope::kLlama3: return RotaryScaling::kLlama3;
    case Rope::kYarn: return RotaryScaling::kYarn;
  }
  contract_broken("unknown rotary embedding", std::source_location::current());
}

std::vector<double> frequencies_of(const AttentionConfig& c, int64_t head_dim) {
  if (c.rope == Rope::kNone) return {};
  const auto width = static_cast<int64_t>(c.rope_fraction * static_cast<double>(head_dim)) / 2 * 2;
  return rotary_frequencies({.theta = c.rope_theta,
                             .width = width,
                             .scaling = scaling_of(c.rope),
                             .factor = c.rope_factor,
                             .original_length = c.rope_original_length,
                             .low_freq_factor = c.rope_low_freq_factor,
                             .high_freq_factor = c.rope_high_freq_factor,
                             .beta_fast = c.rope_beta_fast,
                             .beta_slow = c.rope_beta_slow});
}

double magnitude_of(const AttentionConfig& c) {
  return c.rope == Rope::kYarn ? c.rope_magnitude.value_or(yarn_magnitude(c.rope_factor)) : 1;
}

/// Sequence b of [B, T, C], as [1, T, C].
View sequence(View v, int64_t b) {
  View one = v.row_range(b * v.extent(1), v.extent(1));
  one.shape = {1, v.extent(1), v.cols()};
  return one;
}

/// Throws InputError before anything is derived from numbers that do not fit together.
int checked_attention(const ModelConfig& c, int layer) {
  const AttentionConfig& a = c.attention;
  if (!a.head_dim && c.d_model % a.num_heads != 0) {
    throw InputError(fmt::format(
        "model.attention.num_heads: {} does not divide d_model {}; set head_dim or another number",
        a.num_heads, c.d_model));
  }
  if (a.num_heads % c.kv_heads() != 0) {
    throw InputError(fmt::format("model.attention.num_kv_heads: {} does not divide num_heads {}",
                                 c.kv_heads(), a.num_heads));
  }
  if (a.rope != Rope::kNone && a.rope_fraction * static_cast<double>(c.attention_head_dim()) < 2) {
    throw InputError(fmt::format("model.attention.rope_fraction: {} of {} channels is less than a pair",
                                 a.rope_fraction, c.attention_head_dim()));
  }
  return layer;
}

}  // namespace

Attention::Attention(const ModelConfig& config, int layer, int first_part, const std::string& prefix)
    : layer_(checked_attention(config, layer)),
      part_(first_part),
      heads_(config.attention.num_heads),
      kv_heads_(config.kv_heads()),
      head_dim_(config.attention_head_dim()),
      window_(config.attention.window.value_or(0)),
      scale_(config.attention.key_multiplier *  // a factor of the keys is one of the scores
             config.attention.scale.value_or(1 / std::sqrt(static_cast<double>(head_dim_)))),
      magnitude_(magnitude_of(config.attention)),
      frequencies_(frequencies_of(config.attention, head_dim_)),
      qkv_(prefix + "qkv", config.d_model, (heads_ + 2 * kv_heads_) * head_dim_, config.attention.proj_bias),
      out_proj_(prefix + "o_proj", heads_ * head_dim_, config.d_model, config.attention.proj_bias,
                Init::kResidualOut) {
  // One product computes all three; the checkpoint has three matrices.
  qkv_.weight.parts.clear();
  qkv_.bias.parts.clear();
  int64_t row = 0;
  for (const auto& [name, heads] :
       {std::pair("q_proj", heads_), {"k_proj", kv_heads_}, {"v_proj", kv_heads_}}) {
    const int64_t rows = heads * head_dim_;
    qkv_.weight.parts.push_back(
        {.name = prefix + name + ".weight", .shape = {rows, config.d_model}, .first = row * config.d_model});
    qkv_.bias.parts.push_back({.name = prefix + name + ".bias", .shape = {rows}, .first = row});
    row += rows;
  }
}

void Attention::visit(const ParamVisitor& visitor) {
  qkv_.visit(visitor);
  out_proj_.visit(visitor);
}

std::vector<CarrySpec> Attention::carries() const {
  return {{.part = "keys_values",
           .row = {2, kv_heads_, head_dim_},
           .dtype = qkv_.weight.value.dtype,
           .kind = CarryKind::kAppend}};
}

void Attention::turn(Pass& p, View qkv, View position, bool back) const {
  if (frequencies_.empty()) return;
  const View q_and_k = qkv.columns(0, (heads_ + kv_heads_) * head_dim_);
  rotary(p.ctx, {.x = q_and_k,
                 .head_dim = head_dim_,
                 .frequencies = frequencies_,
                 .position = position,
                 .doc_start = p.segment.doc_start,
                 .magnitude = magnitude_,
                 .reverse = back,
                 .y = q_and_k});
}

Attention::Appended Attention::append(Pass& p, View x) const {
  Appended a{.qkv = qkv_.forward(p, x)};
  turn(p, a.qkv, p.segment.position, /*back=*/false);
  a.history = p.carry.append(p.ctx, key(), row_format(a.qkv), keys_values(a.qkv));
  return a;
}

void Attention::pass_over(Pass& p, View x) const {
  if (p.carry.ragged()) {
    forward_ragged(p, x);
  } else {
    append(p, x);
  }
}

View Attention::forward_ragged(Pass& p, View x) const {
  require(!p.keeps() && !p.segment.doc_start, "sequences of different lengths are only continued");
  const View qkv = qkv_.forward(p, x);
  turn(p, qkv, p.segment.position, /*back=*/false);
  View y = p.arena().take(x.dtype, queries(qkv).shape);
  for (int64_t b = 0; b < p.segment.batch; ++b) {
    const View own = sequence(qkv, b);
    const History history = p.carry.append_row(p.ctx, key(), b, row_format(own), keys_values(own));
    attention_forward(p.ctx, {.q = queries(own),
                              .history = history.pages(),
                              .first = history.first,
                              .doc_start = {},
                              .position = p.segment.position.columns(b, 1),
                              .scale = scale_,
                              .window = window_,
                              .y = sequence(y, b),
                              .lse = {}});
  }
  return out_proj_.forward(p, y);
}

View Attention::forward(Pass& p, View x) const {
  if (p.carry.ragged()) return forward_ragged(p, x);
  Appended a = append(p, x);
  const View q = queries(a.qkv);
  View y = p.arena().take(x.dtype, q.shape);
  View lse = p.keeps() ? p.arena().take(wide(x.dtype), {p.segment.batch, heads_, p.segment.tokens}) : View{};
  attention_forward(p.ctx, {.q = q,
                            .history = a.history.pages(),
                            .first = a.history.first,
                            .doc_start = p.segment.doc_start,
                            .position = p.segment.position,
                            .scale = scale_,
                            .window = window_,
                            .y = y,
                            .lse = lse});
  if (p.keeps()) {
    p.saved.push(Saved{
        .x = x, .qkv = a.qkv, .y = y, .lse = lse, .position = p.segment.position, .history = a.history});
  }
  return out_proj_.forward(p, y);
}

View Attention::backward(Pass& p, View dout) {
  const Saved s = p.saved.pop<Saved>();
  View dy = out_proj_.backward(p, s.y, dout);
  View dqkv = p.arena().like(s.qkv);
  const History gradients = p.carry.row_gradients(key(), s.history);
  attention_backward(p.ctx, {.q = queries(s.qkv),
                             .history = s.history.pages(),
                             .first = s.history.first,
                             .doc_start = p.segment.doc_start,
                             .position = s.position,
                             .scale = scale_,
                             .window = window_,
                             .y = s.y,
                             .lse = s.lse,
                             .dy = dy,
                             .dq = queries(dqkv),
                             .dhistory = gradients.pages()});
  p.carry.collect(p.ctx, key(), gradients, keys_values(dqkv));
  turn(p, dqkv, s.position, /*back=*/true);
  return qkv_.backward(p, s.x, dqkv);
}

}  // namespace natrix
