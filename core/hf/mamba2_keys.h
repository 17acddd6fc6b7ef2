// The keys of Mamba-2 layers. Every family has the same settings under names of its own.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/hf/config_keys.h"

namespace natrix::hf {

struct Mamba2Keys {
  const char *heads, *head_dim, *groups, *states, *taps, *expand, *chunk, *conv_bias, *proj_bias;
};
inline constexpr Mamba2Keys kMamba2Spelling = {"num_heads",  "head_dim",      "n_groups",
                                               "state_size", "conv_kernel",   "expand",
                                               "chunk_size", "use_conv_bias", "use_bias"};
inline constexpr Mamba2Keys kNemotronSpelling = {"mamba_num_heads", "mamba_head_dim", "n_groups",
                                                 "ssm_state_size",  "conv_kernel",    "expand",
                                                 "chunk_size",      "use_conv_bias",  "use_bias"};
inline constexpr Mamba2Keys kHybridSpelling = {"mamba_n_heads",    "mamba_d_head",    "mamba_n_groups",
                                               "mamba_d_state",    "mamba_d_conv",    "mamba_expand",
                                               "mamba_chunk_size", "mamba_conv_bias", "mamba_proj_bias"};

/// The defaults of the classes that spell the keys as hybrids do.
Mamba2Config hybrid_mamba2_defaults();

/// `defaults` are those of the HF class; its num_heads must be set. d_model must be read before. `width`:
/// heads · head_dim must be that, and head_dim may then be "auto"; none: any product.
void read_mamba2(const JsonObject& j, const Mamba2Keys& keys, const Mamba2Config& defaults,
                 std::optional<int64_t> width, ModelConfig& c);
/// width: expand · hidden_size. Reads the key expand alone.
int64_t expanded_width(const JsonObject& j, const Mamba2Keys& keys, const Mamba2Config& defaults,
                       int64_t d_model);
nlohmann::json mamba2_json(const Mamba2Keys& keys, const ModelConfig& c);

}  // namespace natrix::hf
