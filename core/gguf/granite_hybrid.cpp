// granitehybrid: Granite 4 (GraniteMoeHybrid) and Bamba: a Mamba-2 mixer or attention, then an MLP or a mixture
// of experts; two sublayers a layer.
//
// Bamba has no multipliers and dense MLPs, and by default half of each head's channels turn.
#include <cmath>
#include <fmt/format.h>

#include "configs/schema/model_bounds.h"
#include "core/gguf/common_keys.h"
#include "core/hf/config_keys.h"
#include "core/hf/families.h"

namespace natrix {
namespace {

bool is_bamba(const ModelConfig& c) {
  return hf_family(c).model_type == "bamba";
}

bool is_granite_gguf(const ModelConfig& c) {
  return hf_family(c).model_type == "granitemoehybrid" || is_bamba(c);
}

int64_t turning_channels(const ModelConfig& c) {
  return static_cast<int64_t>(static_cast<double>(c.attention_head_dim()) * c.attention.rope_fraction);
}

void visit_granite_rope(const GgufKeys& keys, ModelConfig& c) {
  AttentionConfig& a = c.attention;
  bool turns = a.rope != Rope::kNone;
  keys.boolean("rope.scaling.finetuned", turns, true);  // this is how llama.cpp says it
  if (!turns) return;
  gguf::visit_rope(keys, c);
  int64_t channels = turning_channels(c);
  const int64_t all = c.attention_head_dim();
  keys.integer("rope.dimension_count", channels, 2, all, all);
  if (keys.reading()) a.rope_fraction = static_cast<double>(channels) / static_cast<double>(all);
}

void visit_granite_multipliers(const GgufKeys& keys, ModelConfig& c) {
  double logits = 1 / c.logits_multiplier, scores = c.attention.scale.value_or(0);
  if (keys.reading() || c.attention.scale)
    keys.number("attention.scale", scores, 0, kMostMultiplier,
                0);  // 0: one over the root of the head's width
  if (keys.reading() || !is_bamba(c)) {
    keys.number("embedding_scale", c.embedding_multiplier, -kMostMultiplier, kMostMultiplier, 1);
    keys.number("residual_scale", c.residual_multiplier, -kMostMultiplier, kMostMultiplier, 1);
    keys.number("logit_scale", logits, 0, kMostMultiplier, 1);
  }
  if (!keys.reading()) return;
  if (scores > 0) c.attention.scale = scores;
  // llama.cpp takes 0 for "none".
  if (c.embedding_multiplier == 0) c.embedding_multiplier = 1;
  if (c.residual_multiplier == 0) c.residual_multiplier = 1;
  c.logits_multiplier = logits == 0 ? 1 : 1 / logits;
}

void visit_granite_mlps(const GgufKeys& keys, int64_t layers, ModelConfig& c) {
  MoeConfig& e = c.moe;
  const bool moe = gguf::has(c, 'E');
  int64_t width = moe ? e.d_ff : c.mlp.d_ff, experts = moe ? e.num_experts : 0, used = moe ? e.top_k : 0;
  int64_t shared = e.shared_d_ff.value_or(e.d_ff);
  keys.for_all_layers("feed_forward_length", layers, width, 1, kMostWidth);
  keys.integer("expert_count", experts, 0, kMostExperts, 0);
  keys.integer("expert_used_count", used, 0, experts, 0);
  if (experts > 0) keys.integer("expert_shared_feed_forward_length", shared, 1, kMostWidth);
  if (!keys.reading()) return;
  c.mlp.d_ff = experts > 0 ? shared : width;
  if (experts == 0) return;
  if (used < 1) keys.fail("expert_used_count", "at least 1");
  e.num_experts = experts;
  e.top_k = used;
  e.d_ff = width;
  e.renormalize = true;
  e.shared_experts = 1;
  e.shared_d_ff = shared;
}

void visit_granite_gguf(const GgufKeys& keys, ModelConfig& c) {
  const int64_t layers = gguf::visit_sizes(keys, c, static_cast<int64_t>(c.stack().size() / 2));
  std::vector<bool> attention = gguf::attention_layers(c);
  attention.resize(static_cast<size_t>(layers));
  gguf::visit_attention(keys, attention, false, c);
  gguf::visit_norm_eps(keys, c);
  gguf::visit_mamba2(keys, c);
  visit_granite_mlps(keys, layers, c);
  visit_granite_multipliers(keys, c);
  visit_granite_rope(keys, c);
  if (!keys.reading()) return;
  const bool moe = keys.has_tensor("blk.0.ffn_gate_inp.weight");
  std::string stack;
  for (const bool any : attention) stack += {any ? '*' : 'S', moe ? 'E' : '-'};
  hf::set_stack(c, stack);
  if (!gguf::has(c, '*')) c.attention.rope = Rope::kNone;
  // What is not Bamba is Granite, whose class always has a scale of its own.
  const bool plain = !c.attention.scale && c.embedding_multiplier == 1 && c.residual_multiplier == 1 &&
                     c.logits_multiplier == 1;
  const bool bamba = !moe && plain && (c.attention.rope != Rope::kNone || !gguf::has(c, '*'));
  if (!bamba && !c.attention.scale)
    c.attention.scale = 1 / std::sqrt(static_cast<double>(c.attention_head_dim()));
}

std::vector<TensorRule> granite_rules(const ModelConfig& c) {
  const bool bamba = is_bamba(c), turns = c.attention.rope != Rope::kNone;
  gguf::Rules rules;
  gguf::add_matrix(rules, "attn_norm", "input_layernorm");
  gguf::add_mamba2(rules, "mamba.", c);
  // Where nothing turns, converters write q and k as if all channels did.
  gguf::add_attention(rules, "self_attn.", turns ? turning_channels(c) : c.attention_head_dim(), c);
  gguf::add_matrix(rules, "ffn_norm", bamba ? "pre_ff_layernorm" : "post_attention_layernorm");
  if (bamba) {
    gguf::add_gated_mlp(rules, "feed_forward.");
    return rules;
  }
  const auto add_halves = [&](const std::string& end, const std::string& block) {
    const std::string merged = block + "input_linear.weight";
    rules.push_back({.gguf = "ffn_gate" + end, .hf = merged, .form = TensorRule::Form::kGate});
    rules.push_back({.gguf = "ffn_up" + end, .hf = merged, .form = TensorRule::Form::kUp});
    rules.push_back({.gguf = "ffn_down" + end, .hf = block + "output_linear.weight"});
  };
  add_halves(gguf::has(c, 'E') ? "_shexp.weight" : ".weight", "shared_mlp.");
  if (!gguf::has(c, 'E')) return rules;
  add_halves("_exps.weight", "block_sparse_moe.");
  gguf::add_matrix(rules, "ffn_gate_inp", "block_sparse_moe.router.layer");
  return rules;
}

std::string granite_beyond(const ModelConfig& c) {
  if (c.mamba2_heads() * c.mamba2.head_dim != 2 * c.d_model)
    return "llama.cpp has no Granite-H with mamba_expand other than 2";
  if (!gguf::has(c, 'S')) return "llama.cpp keeps Granite without Mamba-2 under another architecture";
  return gguf::mamba2_beyond(c);
}

}  // namespace

GgufArchitecture granite_hybrid_gguf() {
  return {.name = "granitehybrid",
          .expresses = is_granite_gguf,
          .visit = visit_granite_gguf,
          .rules = granite_rules,
          .beyond_llama_cpp = granite_beyond};
}

}  // namespace natrix
