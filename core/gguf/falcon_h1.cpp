// falcon-h1: Mamba-2 and attention side by side, then a gated MLP; two sublayers a layer.
//
// The format has no keys for the model's multipliers: weights are multiplied by them. A file that natrix did not
// write is therefore read as a model whose multipliers are 1.
#include <fmt/format.h>

#include "configs/schema/model_bounds.h"
#include "core/gguf/common_keys.h"
#include "core/hf/config_keys.h"
#include "core/hf/families.h"

namespace natrix {
namespace {

bool is_falcon_h1_gguf(const ModelConfig& c) {
  return hf_family(c).model_type == "falcon_h1";
}

void visit_falcon_h1_gguf(const GgufKeys& keys, ModelConfig& c) {
  const int64_t layers = gguf::visit_sizes(keys, c, static_cast<int64_t>(c.sublayers().size() / 2));
  std::vector<bool> attention(static_cast<size_t>(layers), true);
  gguf::visit_attention(keys, attention, true, c);
  gguf::visit_rope(keys, c);
  gguf::visit_norm_eps(keys, c);
  gguf::visit_mamba2(keys, c);
  keys.for_all_layers("feed_forward_length", layers, c.mlp.d_ff, 1, kMostWidth);
  if (!keys.reading()) return;
  c.pattern = "(S*)-";
  c.repeat = layers;
  c.mamba2.norm = keys.any_layer_has("ssm_norm.weight");
}

/// The five parts of in_proj's rows.
std::vector<RowFactor> in_proj_factors(const ModelConfig& c) {
  const Mamba2Config& m = c.mamba2;
  const int64_t inner = c.mamba2_heads() * m.head_dim, states = m.n_groups * m.d_state;
  return {{inner, m.in_multiplier * m.z_multiplier},
          {inner, m.in_multiplier * m.x_multiplier},
          {states, m.in_multiplier * m.B_multiplier},
          {states, m.in_multiplier * m.C_multiplier},
          {c.mamba2_heads(), m.in_multiplier * m.dt_multiplier}};
}

std::vector<TensorRule> falcon_h1_rules(const ModelConfig& c) {
  const AttentionConfig& a = c.attention;
  const int64_t d = c.d_model, vocabulary = *c.vocab_size, kv = c.kv_heads() * c.attention_head_dim();
  gguf::Rules rules;
  gguf::add_matrix(rules, "attn_norm", "input_layernorm");
  gguf::add_mamba2(rules, "mamba.", c);
  gguf::add_attention(rules, "self_attn.", 0, c);
  rules.push_back({.gguf = "ffn_norm", .hf = "pre_ff_layernorm.weight"});  // without ".weight" in this one
  gguf::add_gated_mlp(rules, "feed_forward.");
  gguf::scale(rules, "ssm_in.weight", in_proj_factors(c));
  gguf::scale(rules, "ssm_out.weight", {{d, c.mamba2.out_multiplier}});
  gguf::scale(rules, "attn_q.weight", {{a.num_heads * c.attention_head_dim(), a.in_multiplier}});
  gguf::scale(rules, "attn_k.weight", {{kv, a.in_multiplier * a.key_multiplier}});
  gguf::scale(rules, "attn_v.weight", {{kv, a.in_multiplier}});
  gguf::scale(rules, "attn_output.weight", {{d, a.out_multiplier}});
  gguf::scale(rules, "ffn_gate.weight", {{c.mlp.d_ff, c.mlp.gate_multiplier}});
  gguf::scale(rules, "ffn_down.weight", {{d, c.mlp.out_multiplier}});
  const HfNames names = hf_names(c);
  rules.push_back({.gguf = "token_embd.weight", .hf = names.embedding, .once = true});
  gguf::scale(rules, "token_embd.weight", {{vocabulary, c.embedding_multiplier}});
  // A tied head needs a tensor of its own, because its multiplier is another.
  const bool apart = !c.tie_embeddings || c.embedding_multiplier != c.logits_multiplier;
  if (apart) {
    rules.push_back({.gguf = "output.weight",
                     .hf = c.tie_embeddings ? names.embedding : names.head,
                     .once = true,
                     .derived = c.tie_embeddings});
    gguf::scale(rules, "output.weight", {{vocabulary, c.logits_multiplier}});
  }
  return rules;
}

std::string falcon_h1_beyond(const ModelConfig& c) {
  if (c.attention.proj_bias && c.attention.in_multiplier != 1)
    return "llama.cpp has no biases of q, k and v beside multipliers";
  return gguf::mamba2_beyond(c);
}

}  // namespace

GgufArchitecture falcon_h1_gguf() {
  return {.name = "falcon-h1",
          .expresses = is_falcon_h1_gguf,
          .visit = visit_falcon_h1_gguf,
          .rules = falcon_h1_rules,
          .beyond_llama_cpp = falcon_h1_beyond};
}

}  // namespace natrix
