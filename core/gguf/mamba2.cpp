// mamba2: Mamba-2 layers and nothing else.
#include "core/gguf/common_keys.h"
#include "core/hf/config_keys.h"
#include "core/hf/families.h"

namespace natrix {
namespace {

bool is_mamba2_gguf(const ModelConfig& c) {
  return hf_family(c).model_type == "mamba2";
}

void visit_mamba2_gguf(const GgufKeys& keys, ModelConfig& c) {
  const int64_t layers = gguf::visit_sizes(keys, c, static_cast<int64_t>(c.stack().size()));
  if (keys.reading()) hf::set_stack(c, std::string(static_cast<size_t>(layers), 'S'));
  keys.constant("feed_forward_length", 0);
  keys.constant("attention.head_count", 0);
  gguf::visit_norm_eps(keys, c);
  gguf::visit_mamba2(keys, c);
}

std::vector<TensorRule> mamba2_rules(const ModelConfig& c) {
  gguf::Rules rules;
  gguf::add_matrix(rules, "attn_norm", "norm");
  gguf::add_mamba2(rules, "mixer.", c);
  return rules;
}

std::string mamba2_model_beyond(const ModelConfig& c) {
  if (!c.mamba2.conv_bias) return "llama.cpp has no Mamba-2 without a bias of the convolution";
  return gguf::mamba2_beyond(c);
}

}  // namespace

GgufArchitecture mamba2_gguf() {
  return {.name = "mamba2",
          .expresses = is_mamba2_gguf,
          .visit = visit_mamba2_gguf,
          .rules = mamba2_rules,
          .beyond_llama_cpp = mamba2_model_beyond};
}

}  // namespace natrix
