// jamba: a Mamba-1 mixer or attention, then an MLP or a mixture of experts; two sublayers a layer.
#include <fmt/format.h>

#include "configs/schema/model_bounds.h"
#include "core/gguf/common_keys.h"
#include "core/hf/config_keys.h"
#include "core/hf/families.h"

namespace natrix {
namespace {

bool is_jamba_gguf(const ModelConfig& c) {
  return hf_family(c).model_type == "jamba";
}

void visit_jamba_gguf(const GgufKeys& keys, ModelConfig& c) {
  const int64_t layers = gguf::visit_sizes(keys, c, static_cast<int64_t>(c.stack().size() / 2));
  std::vector<bool> attention = gguf::attention_layers(c);
  attention.resize(static_cast<size_t>(layers));
  gguf::visit_attention(keys, attention, false, c);
  gguf::visit_norm_eps(keys, c);
  gguf::visit_mamba1(keys, c);
  int64_t width = gguf::has(c, 'E') ? c.moe.d_ff : c.mlp.d_ff,
          experts = gguf::has(c, 'E') ? c.moe.num_experts : 0;
  int64_t used = experts > 0 ? c.moe.top_k : 0;
  keys.for_all_layers("feed_forward_length", layers, width, 1, kMostWidth);
  keys.integer("expert_count", experts, 0, kMostExperts, 0);
  keys.integer("expert_used_count", used, 0, experts, 0);
  if (!keys.reading()) return;
  std::string stack;
  for (int64_t i = 0; i < layers; ++i) {
    stack += attention[static_cast<size_t>(i)] ? '*' : 'M';
    stack += keys.has_tensor(fmt::format("blk.{}.ffn_gate_inp.weight", i)) ? 'E' : '-';
  }
  hf::set_stack(c, stack);
  c.mlp.d_ff = c.moe.d_ff = width;
  if (!gguf::has(c, 'E')) return;
  c.moe.num_experts = experts;
  c.moe.top_k = used;
  if (used < 1) keys.fail("expert_used_count", "at least 1: there are layers of experts");
}

std::vector<TensorRule> jamba_rules(const ModelConfig& c) {
  gguf::Rules rules;
  gguf::add_matrix(rules, "attn_norm", "input_layernorm");
  gguf::add_mamba1(rules, "mamba.", c);
  for (const char* part : {"dt", "b", "c"})
    gguf::add_matrix(rules, fmt::format("ssm_{}_norm", part), fmt::format("mamba.{}_layernorm", part));
  gguf::add_attention(rules, "self_attn.", 0, c);
  gguf::add_matrix(rules, "ffn_norm", "pre_ff_layernorm");
  gguf::add_gated_mlp(rules, "feed_forward.");
  gguf::add_matrix(rules, "ffn_gate_inp", "feed_forward.router");
  for (const char* part : {"gate", "up", "down"}) {
    rules.push_back({.gguf = fmt::format("ffn_{}_exps.weight", part),
                     .hf = fmt::format("feed_forward.experts.#.{}_proj.weight", part),
                     .form = TensorRule::Form::kExperts});
  }
  return rules;
}

std::string jamba_beyond(const ModelConfig& c) {
  if (c.mamba.expand != 2) return "llama.cpp has no Jamba with mamba_expand other than 2";
  if (!c.mamba.conv_bias) return "llama.cpp has no Jamba without a bias of the convolution";
  if (c.mamba.proj_bias) return "llama.cpp has no biases of in_proj and out_proj";
  return {};
}

}  // namespace

GgufArchitecture jamba_gguf() {
  return {.name = "jamba",
          .expresses = is_jamba_gguf,
          .visit = visit_jamba_gguf,
          .rules = jamba_rules,
          .beyond_llama_cpp = jamba_beyond};
}

}  // namespace natrix
