// The keys of attention layers, rotary embeddings included.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/hf/config_keys.h"

namespace natrix::hf {

/// num_attention_heads, num_key_value_heads and attention_bias; d_model must be read before.
/// `kv_heads`: of the HF class where the key is absent; null in the file, and 0 here, mean num_attention_heads.
/// `with_head_dim`: the class reads head_dim.
void read_attention(const JsonObject& j, int64_t kv_heads, bool with_head_dim, ModelConfig& c);
/// The same keys. A stack without attention gets one head where the heads would not divide the width.
nlohmann::json attention_json(bool with_head_dim, const ModelConfig& c);
/// Whether a head has d_model / num_heads channels.
bool heads_divide_width(const ModelConfig& c);

/// Rotary embeddings, as transformers 5 spells them (rope_parameters) and as version 4 did (rope_theta,
/// partial_rotary_factor, rope_scaling). `fraction`: of a head's channels where the file has no
/// partial_rotary_factor; only_fraction: the class has no other. read_attention() must come before.
void read_rope(const JsonObject& j, double fraction, bool only_fraction, ModelConfig& c);
/// The key rope_parameters.
nlohmann::json rope_json(double usual_fraction, const ModelConfig& c);

}  // namespace natrix::hf
