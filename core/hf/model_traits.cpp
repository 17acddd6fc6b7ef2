#include "core/hf/model_traits.h"

#include <algorithm>

namespace natrix::hf {

bool plain_stream(const ModelConfig& c) {
  return c.embedding_multiplier == 1 && c.residual_multiplier == 1 && c.logits_multiplier == 1;
}

bool plain_attention(const ModelConfig& c) {
  const AttentionConfig& a = c.attention;
  return a.in_multiplier == 1 && a.out_multiplier == 1 && a.key_multiplier == 1;
}

bool plain_mixers(const ModelConfig& c) {
  const Mamba2Config& m = c.mamba2;
  const auto factors = {m.in_multiplier, m.out_multiplier,      m.z_multiplier,
                        m.x_multiplier,  m.B_multiplier,        m.C_multiplier,
                        m.dt_multiplier, c.mlp.gate_multiplier, c.mlp.out_multiplier};
  return plain_attention(c) && std::ranges::all_of(factors, [](double f) { return f == 1; });
}

bool heads_fill_width(const ModelConfig& c) {
  return c.mamba2_heads() * c.mamba2.head_dim == c.mamba2.expand * c.d_model;
}

bool plain_routing(const MoeConfig& moe) {
  return moe.routed_scaling == 1 && !moe.selection_bias && moe.bias_update_rate == 0 && moe.groups == 1 &&
         !moe.latent;
}

}  // namespace natrix::hf
