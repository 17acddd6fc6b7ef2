// llama: attention with rotary embeddings and a gated MLP; two sublayers a layer.
//
// The scaling of Llama 3's frequencies is a tensor of factors, rope_freqs.weight, and not keys.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numbers>

#include "configs/schema/model_bounds.h"
#include "core/gguf/common_keys.h"
#include "core/gguf/quantized_blocks.h"
#include "core/hf/config_keys.h"
#include "core/hf/families.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr const char* kFrequencies = "rope_freqs.weight";

bool is_llama_gguf(const ModelConfig& c) {
  return hf_family(c).model_type == "llama" && c.attention.rope != Rope::kYarn;
}

/// What divides the frequency of each pair of channels.
std::vector<float> llama3_divisors(const ModelConfig& c) {
  const AttentionConfig& a = c.attention;
  std::vector<float> divisors;
  const auto channels = static_cast<double>(c.attention_head_dim());
  for (double j = 0; j < channels; j += 2) {
    const double turns =
        a.rope_original_length / (2 * std::numbers::pi * std::pow(a.rope_theta, j / channels));
    const double smooth = std::clamp(
        (turns - a.rope_low_freq_factor) / (a.rope_high_freq_factor - a.rope_low_freq_factor), 0.0, 1.0);
    divisors.push_back(static_cast<float>(1 / (smooth + (1 - smooth) / a.rope_factor)));
  }
  return divisors;
}

/// The published models differ in the factor alone, which is the largest divisor.
void read_llama3_rope(const GgufFile& file, ModelConfig& c) {
  const GgufTensor& tensor = file.tensor(kFrequencies);
  std::vector<float> divisors(static_cast<size_t>(c.attention_head_dim() / 2));
  const bool fits = tensor.type == GgufType::kF32 && tensor.count() == static_cast<int64_t>(divisors.size());
  if (fits) expand_blocks(tensor.type, tensor.bytes.data(), tensor.count(), divisors.data());
  c.attention.rope = Rope::kLlama3;
  for (const float divisor : divisors)
    c.attention.rope_factor = std::max<double>(c.attention.rope_factor, divisor);
  const std::vector<float> ours = llama3_divisors(c);
  const bool equal = fits && std::ranges::equal(divisors, ours, [](float a, float b) {
                       return std::fabs(a - b) <= 1e-4f * std::fabs(b);
                     });
  if (!equal) {
    throw InputError(fmt::format(
        "{}: tensor \"{}\" does not hold the factors of Llama 3 (low_freq_factor 1, high_freq_factor 4, "
        "original_max_position_embeddings 8192); natrix can read no others: use the model as a Hugging Face "
        "directory",
        file.origin(), kFrequencies));
  }
}

void visit_llama_gguf(const GgufKeys& keys, ModelConfig& c) {
  const int64_t layers = gguf::visit_sizes(keys, c, static_cast<int64_t>(c.stack().size() / 2));
  std::vector<bool> attention(static_cast<size_t>(layers), true);
  gguf::visit_attention(keys, attention, true, c);
  gguf::visit_rope(keys, c);
  int64_t channels = c.attention_head_dim();
  keys.integer("rope.dimension_count", channels, channels, channels, channels);
  gguf::visit_norm_eps(keys, c);
  keys.for_all_layers("feed_forward_length", layers, c.mlp.d_ff, 1, kMostWidth);
  if (!keys.reading()) return;
  int64_t experts = 0;
  keys.integer("expert_count", experts, 0, 0, 0);  // Mixtral has this architecture too
  hf::set_stack(c, "*-");
  c.repeat = layers;
  if (keys.has_tensor(kFrequencies)) read_llama3_rope(keys.file(), c);
}

std::vector<TensorRule> llama_rules(const ModelConfig& c) {
  gguf::Rules rules;
  gguf::add_matrix(rules, "attn_norm", "input_layernorm");
  gguf::add_attention(rules, "self_attn.", c.attention_head_dim(), c);
  gguf::add_matrix(rules, "ffn_norm", "post_attention_layernorm");
  gguf::add_gated_mlp(rules, "mlp.");
  return rules;
}

std::vector<ExtraTensor> llama_extra(const ModelConfig& c) {
  if (c.attention.rope != Rope::kLlama3) return {};
  return {{.name = kFrequencies, .values = llama3_divisors(c)}};
}

}  // namespace

GgufArchitecture llama_gguf() {
  return {.name = "llama",
          .expresses = is_llama_gguf,
          .visit = visit_llama_gguf,
          .rules = llama_rules,
          .beyond_llama_cpp = [](const ModelConfig&) { return std::string(); },
          .extra = llama_extra};
}

}  // namespace natrix
