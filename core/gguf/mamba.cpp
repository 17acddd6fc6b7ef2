// mamba: Mamba-1 layers, and Falcon-Mamba's, which norm dt, B and C without weights.
#include "configs/schema/model_bounds.h"
#include "core/gguf/common_keys.h"
#include "core/hf/config_keys.h"
#include "core/hf/families.h"

namespace natrix {
namespace {

bool is_mamba_gguf(const ModelConfig& c) {
  const std::string_view family = hf_family(c).model_type;
  return family == "mamba" || family == "falcon_mamba";
}

void visit_mamba_gguf(const GgufKeys& keys, ModelConfig& c) {
  const int64_t layers = gguf::visit_sizes(keys, c, static_cast<int64_t>(c.stack().size()));
  if (keys.reading()) hf::set_stack(c, std::string(static_cast<size_t>(layers), 'M'));
  keys.constant("feed_forward_length", 0);
  keys.constant("attention.head_count", 0);
  gguf::visit_norm_eps(keys, c);
  gguf::visit_mamba1(keys, c);
  keys.boolean("ssm.dt_b_c_rms", c.mamba.inner_norms, false);
  if (!keys.reading()) return;
  c.mamba.inner_norm_weights = false;
  c.mamba.inner_norm_eps = c.norm_eps;  // as llama.cpp takes it
}

std::vector<TensorRule> mamba_rules(const ModelConfig& c) {
  gguf::Rules rules;
  gguf::add_matrix(rules, "attn_norm", "norm");
  gguf::add_mamba1(rules, "mixer.", c);
  return rules;
}

std::string mamba_beyond(const ModelConfig& c) {
  if (c.mamba.expand != 2) return "llama.cpp has no Mamba with expand other than 2";
  if (!c.mamba.conv_bias) return "llama.cpp has no Mamba without a bias of the convolution";
  if (c.mamba.proj_bias) return "llama.cpp has no biases of in_proj and out_proj";
  if (c.mamba.inner_norms && c.mamba.inner_norm_eps.value_or(c.norm_eps) != c.norm_eps)
    return "llama.cpp takes layer_norm_epsilon for mixer_rms_eps, so its results differ in the last digits";
  return {};
}

}  // namespace

GgufArchitecture mamba_gguf() {
  return {.name = "mamba",
          .expresses = is_mamba_gguf,
          .visit = visit_mamba_gguf,
          .rules = mamba_rules,
          .beyond_llama_cpp = mamba_beyond};
}

}  // namespace natrix
