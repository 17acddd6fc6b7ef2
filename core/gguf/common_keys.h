// Keys and tensors that several architectures have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/gguf/architecture.h"

namespace natrix::gguf {

/// block_count, context_length, embedding_length and vocab_size. Returns the number of layers; `layers` is it
/// when writing. Layers that predict several tokens at once, the last in the file, are not counted.
int64_t visit_sizes(const GgufKeys& keys, ModelConfig& config, int64_t layers);
void visit_norm_eps(const GgufKeys& keys, ModelConfig& config);
void visit_mamba1(const GgufKeys& keys, ModelConfig& config);
void visit_mamba2(const GgufKeys& keys, ModelConfig& config);
/// Heads of attention. `has_attention`: for each layer whether it has attention, as the key-value heads say;
/// filled when reading. `explicit_head_dim`: the file gives the width of a head.
void visit_attention(const GgufKeys& keys, std::vector<bool>& has_attention, bool explicit_head_dim,
                     ModelConfig& config);
/// rope.freq_base, and the scaling of frequencies.
void visit_rope(const GgufKeys& keys, ModelConfig& config);

/// For each layer of a stack in which a layer is two sublayers: whether the first is attention.
std::vector<bool> attention_layers(const ModelConfig& config);
bool has(const ModelConfig& config, char letter);

using Rules = std::vector<TensorRule>;
/// A matrix or norm and its name; rules for ".weight", and for ".bias" if `biased`.
void add_matrix(Rules& rules, const std::string& gguf, const std::string& hf, bool biased = false);
/// The tensors of a mixer whose names begin with `hf` ("mixer." or "mamba.").
void add_mamba1(Rules& rules, const std::string& hf, const ModelConfig& config);
void add_mamba2(Rules& rules, const std::string& hf, const ModelConfig& config);
/// q_proj, k_proj, v_proj, o_proj. turning: channels of a head of which pairs become neighbours; 0: none.
void add_attention(Rules& rules, const std::string& hf, int64_t turning, const ModelConfig& config);
/// gate_proj, up_proj, down_proj.
void add_gated_mlp(Rules& rules, const std::string& hf);
/// Scales the rule of this GGUF name; all `rows` by one factor, or in parts. Factors of 1 alone change nothing.
void scale(Rules& rules, const std::string& gguf, const std::vector<RowFactor>& factors);

/// What llama.cpp's Mamba-2 layer lacks; empty if nothing.
std::string mamba2_beyond(const ModelConfig& config);

}  // namespace natrix::gguf
