// nemotron_h and nemotron_h_moe: one mixer a layer: Mamba-2, attention without positions, and a dense MLP or, in
// the second, a mixture of experts.
#include <algorithm>
#include <fmt/format.h>

#include "configs/schema/model_bounds.h"
#include "core/gguf/common_keys.h"
#include "core/hf/config_keys.h"
#include "core/hf/families.h"

namespace natrix {
namespace {

bool is_nemotron_gguf(const ModelConfig& c) {
  return hf_family(c).model_type == "nemotron_h" && !gguf::has(c, 'E');
}

bool is_nemotron_moe_gguf(const ModelConfig& c) {
  return hf_family(c).model_type == "nemotron_h" && gguf::has(c, 'E');
}

std::vector<bool> layers_of(const ModelConfig& c, char letter) {
  std::vector<bool> layers;
  for (const char l : c.stack()) layers.push_back(l == letter);
  return layers;
}

void visit_nemotron_experts(const GgufKeys& keys, int64_t layers, ModelConfig& c) {
  MoeConfig& e = c.moe;
  int64_t shared = e.shared_d_ff.value_or(e.d_ff), latent = e.latent.value_or(0);
  keys.integer("expert_count", e.num_experts, 1, kMostExperts);
  keys.for_all_layers("expert_used_count", layers, e.top_k, 1, e.num_experts);
  keys.for_all_layers("expert_feed_forward_length", layers, e.d_ff, 1, kMostWidth);
  keys.integer("expert_shared_feed_forward_length", shared, 1, kMostWidth);
  keys.constant("expert_shared_count", 1);
  keys.boolean("expert_weights_norm", e.renormalize, false);
  keys.number("expert_weights_scale", e.routed_scaling, -kMostMultiplier, kMostMultiplier, 1);
  keys.integer("expert_group_count", e.groups, 0, e.num_experts, 1);
  keys.integer("expert_group_used_count", e.top_groups, 0, e.num_experts, 1);
  if (keys.reading() || e.latent) keys.integer("moe_latent_size", latent, 0, kMostWidth, 0);
  if (!keys.reading()) return;
  if (e.routed_scaling == 0) e.routed_scaling = 1;  // llama.cpp takes 0 for "none"
  e.groups = std::max<int64_t>(e.groups, 1);
  e.top_groups = std::max<int64_t>(e.top_groups, 1);
  e.shared_d_ff = shared;
  if (latent > 0) e.latent = latent;
  e.activation = MlpActivation::kRelu2;
  e.router = Router::kSigmoid;
  e.selection_bias = true;
  e.shared_experts = 1;
}

/// Layers of attention have key-value heads, MLPs and experts have a width, and Mamba-2 has neither.
void visit_nemotron_layers(const GgufKeys& keys, int64_t layers, ModelConfig& c) {
  const std::string stack = c.stack();
  std::vector<int64_t> widths(static_cast<size_t>(layers));
  for (size_t i = 0; i < stack.size(); ++i)
    widths[i] = stack[i] == 'E' ? c.moe.d_ff : stack[i] == '-' ? c.mlp.d_ff : 0;
  keys.per_layer("feed_forward_length", widths, 0, kMostWidth);
  std::vector<bool> attention = layers_of(c, '*');
  attention.resize(widths.size());
  gguf::visit_attention(keys, attention, true, c);
  if (!keys.reading()) return;
  std::string read;
  for (size_t i = 0; i < widths.size(); ++i) {
    const bool experts = keys.has_tensor(fmt::format("blk.{}.ffn_gate_inp.weight", i));
    read += attention[i] ? '*' : widths[i] == 0 ? 'S' : experts ? 'E' : '-';
    if (read.back() == '-') c.mlp.d_ff = widths[i];
  }
  hf::set_stack(c, read);
  c.mlp.activation = MlpActivation::kRelu2;
}

void visit_nemotron_gguf(const GgufKeys& keys, ModelConfig& c) {
  const int64_t layers = gguf::visit_sizes(keys, c, static_cast<int64_t>(c.stack().size()));
  visit_nemotron_layers(keys, layers, c);
  keys.number("attention.layer_norm_epsilon", c.norm_eps, kLeastEps, kMostEps);
  keys.number("attention.layer_norm_rms_epsilon", c.norm_eps, kLeastEps, kMostEps, c.norm_eps);
  if (gguf::has(c, 'S') || !keys.reading()) gguf::visit_mamba2(keys, c);
  if (gguf::has(c, 'E')) visit_nemotron_experts(keys, layers, c);
}

std::vector<TensorRule> nemotron_rules(const ModelConfig& c) {
  gguf::Rules rules;
  gguf::add_matrix(rules, "attn_norm", "norm");
  gguf::add_mamba2(rules, "mixer.", c);
  // Nothing turns, but converters write q and k as if it did, and scores do not see the order of channels.
  gguf::add_attention(rules, "mixer.", c.attention_head_dim(), c);
  gguf::add_matrix(rules, "ffn_gate_inp", "mixer.gate");
  rules.push_back({.gguf = "exp_probs_b.bias", .hf = "mixer.gate.e_score_correction_bias"});
  gguf::add_matrix(rules, "ffn_latent_down", "mixer.fc1_latent_proj");
  gguf::add_matrix(rules, "ffn_latent_up", "mixer.fc2_latent_proj");
  for (const char* part : {"up", "down"}) {
    gguf::add_matrix(rules, fmt::format("ffn_{}", part), fmt::format("mixer.{}_proj", part));
    gguf::add_matrix(rules, fmt::format("ffn_{}_shexp", part),
                     fmt::format("mixer.shared_experts.{}_proj", part));
    rules.push_back({.gguf = fmt::format("ffn_{}_exps.weight", part),
                     .hf = fmt::format("mixer.experts.#.{}_proj.weight", part),
                     .form = TensorRule::Form::kExperts});
  }
  return rules;
}

std::string nemotron_beyond(const ModelConfig& c) {
  if (gguf::has(c, 'E') && gguf::has(c, '-'))
    return "llama.cpp has no Nemotron-H with dense MLPs beside layers of experts";
  return gguf::mamba2_beyond(c);
}

}  // namespace

GgufArchitecture nemotron_h_gguf() {
  return {.name = "nemotron_h",
          .expresses = is_nemotron_gguf,
          .visit = visit_nemotron_gguf,
          .rules = nemotron_rules,
          .beyond_llama_cpp = nemotron_beyond};
}

GgufArchitecture nemotron_h_moe_gguf() {
  GgufArchitecture a = nemotron_h_gguf();
  a.name = "nemotron_h_moe";
  a.expresses = is_nemotron_moe_gguf;
  return a;
}

}  // namespace natrix
