#include "core/hf/hf_formats.h"

#include <fmt/format.h>

namespace natrix {
namespace {

bool fits_jamba(const ModelConfig& c, std::string_view stack) {
  const bool experts = stack.find('E') != std::string_view::npos;
  const bool dense = stack.find('-') != std::string_view::npos;
  if (!c.mamba.inner_norms || !jamba_expert_layers(stack)) return false;
  if (dense && c.mlp.activation != MlpActivation::kSwiglu) return false;
  if (!experts) return true;
  const MoeConfig& moe = c.moe;
  return moe.activation == MlpActivation::kSwiglu && moe.router == Router::kSoftmax && !moe.renormalize &&
         moe.shared_experts == 0 && moe.bias_update_rate == 0 &&
         moe.num_experts > 1 &&  // Jamba takes one expert for a dense MLP
         (!dense || moe.d_ff == c.mlp.d_ff);
}

}  // namespace

std::optional<ExpertLayers> jamba_expert_layers(std::string_view stack) {
  if (stack.empty() || stack.size() % 2 != 0) return std::nullopt;
  std::vector<int64_t> experts;  // the MLPs that are MoE
  const auto layers = static_cast<int64_t>(stack.size() / 2);
  for (int64_t i = 0; i < layers; ++i) {
    const char mlp = stack[static_cast<size_t>(2 * i + 1)];
    if (stack[static_cast<size_t>(2 * i)] != 'M' || (mlp != 'E' && mlp != '-')) return std::nullopt;
    if (mlp == 'E') experts.push_back(i);
  }
  if (experts.empty()) return ExpertLayers{};  // num_experts 1 then says that all are dense
  ExpertLayers e;
  e.offset = experts.front();
  e.period = experts.size() > 1 ? experts[1] - experts[0] : layers;
  if (e.offset >= e.period) return std::nullopt;
  for (int64_t i = 0; i < layers; ++i) {
    const bool said = i % e.period == e.offset;
    if (said != (stack[static_cast<size_t>(2 * i + 1)] == 'E')) return std::nullopt;
  }
  return e;
}

HfFamily hf_family(const ModelConfig& c) {
  const std::string stack = c.stack();
  const bool all_mamba = stack.find_first_not_of('M') == std::string::npos;
  if (all_mamba && !c.mamba.inner_norms) return HfFamily::kMamba;
  return fits_jamba(c, stack) ? HfFamily::kJamba : HfFamily::kNatrix;
}

HfNames::HfNames(const ModelConfig& config) : family_(hf_family(config)) {}

std::string HfNames::embedding() const {
  return family_ == HfFamily::kJamba ? "model.embed_tokens.weight" : "backbone.embeddings.weight";
}

std::string HfNames::final_norm() const {
  return family_ == HfFamily::kJamba ? "model.final_layernorm.weight" : "backbone.norm_f.weight";
}

std::string HfNames::head() const {
  return "lm_head.weight";
}

// A Jamba layer is two sublayers: the mixer and the MLP.
std::string HfNames::norm(int sublayer) const {
  if (family_ != HfFamily::kJamba) return fmt::format("backbone.layers.{}.norm.weight", sublayer);
  return fmt::format("model.layers.{}.{}.weight", sublayer / 2,
                     sublayer % 2 == 0 ? "input_layernorm" : "pre_ff_layernorm");
}

std::string HfNames::block(int sublayer) const {
  if (family_ != HfFamily::kJamba) return fmt::format("backbone.layers.{}.mixer.", sublayer);
  return fmt::format("model.layers.{}.{}.", sublayer / 2, sublayer % 2 == 0 ? "mamba" : "feed_forward");
}

}  // namespace natrix
