// JambaForCausalLM without attention layers: layers of a Mamba-1 mixer with inner norms and an MLP, which is
// dense or, at a fixed period and offset, a mixture of experts. SwiGLU, softmax routing without
// renormalisation, no shared experts or selection bias, one d_ff for all.
//
// A layer of Jamba is two sublayers of the stack.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/config_keys.h"
#include "core/hf/families.h"

namespace natrix {
namespace {

constexpr char kMixer = 'M', kExperts = 'E', kDense = '-';

bool stack_holds(const std::string& stack, char letter) {
  return stack.find(letter) != std::string::npos;
}

void refuse_attention(const JsonObject& j, int64_t layers) {
  const int64_t period = j.integer("attn_layer_period", 1, INT64_MAX, 8);
  const int64_t offset = j.integer("attn_layer_offset", 0, INT64_MAX, 4);
  if (offset >= period) j.fail("attn_layer_offset", fmt::format("less than attn_layer_period = {}", period));
  if (offset < layers) {
    throw InputError(
        fmt::format("{}: JambaForCausalLM with attention layers is not supported yet: attn_layer_period {} "
                    "and attn_layer_offset {} "
                    "make layer {} of {} one; expected an offset of at least {}",
                    j.origin(), period, offset, offset, layers, layers));
  }
}

ModelConfig read_jamba(const JsonObject& j) {
  ModelConfig c;
  const int64_t layers = j.integer("num_hidden_layers", 1, kMostLayers / 2);
  refuse_attention(j, layers);
  hf::read_common(j, false, c);
  c.norm_eps = j.number("rms_norm_eps", kLeastEps, kMostEps, 1e-6);
  c.mamba.d_state = j.integer("mamba_d_state", 1, kMostStates, 16);
  c.mamba.d_conv = j.integer("mamba_d_conv", 1, kMostTaps, 4);
  c.mamba.expand = j.integer("mamba_expand", 1, kMostExpand, 2);
  c.mamba.dt_rank = hf::dt_rank(j, "mamba_dt_rank", c.d_model);
  c.mamba.inner_norms = true;
  c.mamba.conv_bias = j.boolean("mamba_conv_bias", true);
  c.mamba.proj_bias = j.boolean("mamba_proj_bias", false);
  hf::expect_silu(j);

  const int64_t experts = j.integer("num_experts", 1, kMostExperts);
  const int64_t period = j.integer("expert_layer_period", 1, INT64_MAX, 2);
  const int64_t offset = j.integer("expert_layer_offset", 0, INT64_MAX, 1);
  if (offset >= period)
    j.fail("expert_layer_offset", fmt::format("less than expert_layer_period = {}", period));
  std::string stack;
  for (int64_t i = 0; i < layers; ++i) {
    stack += kMixer;
    stack += experts > 1 && i % period == offset ? kExperts : kDense;
  }
  hf::set_stack(c, stack);
  c.mlp.d_ff = c.moe.d_ff = j.integer("intermediate_size", 1, kMostWidth);
  if (stack_holds(stack, kExperts)) {
    c.moe.num_experts = experts;
    c.moe.top_k = j.integer("num_experts_per_tok", 1, experts, 2);
  }
  return c;
}

/// Where the experts are, in two numbers: MLP i is a mixture where i % period == offset.
struct ExpertLayers {
  int64_t period = 1, offset = 0;
};

/// nothing if the stack has another form than a mixer and an MLP by turns, or experts without a period.
std::optional<ExpertLayers> expert_layers(std::string_view stack) {
  if (stack.empty() || stack.size() % 2 != 0) return std::nullopt;
  std::vector<int64_t> experts;  // the MLPs that are mixtures
  const auto layers = static_cast<int64_t>(stack.size() / 2);
  for (int64_t i = 0; i < layers; ++i) {
    const char mlp = stack[static_cast<size_t>(2 * i + 1)];
    if (stack[static_cast<size_t>(2 * i)] != kMixer || (mlp != kExperts && mlp != kDense))
      return std::nullopt;
    if (mlp == kExperts) experts.push_back(i);
  }
  if (experts.empty()) return ExpertLayers{};  // num_experts 1 then says that all are dense
  ExpertLayers e;
  e.offset = experts.front();
  e.period = experts.size() > 1 ? experts[1] - experts[0] : layers;
  if (e.offset >= e.period) return std::nullopt;
  for (int64_t i = 0; i < layers; ++i) {
    const bool said = i % e.period == e.offset;
    if (said != (stack[static_cast<size_t>(2 * i + 1)] == kExperts)) return std::nullopt;
  }
  return e;
}

bool jamba_expresses(const ModelConfig& c) {
  const std::string stack = c.stack();
  const bool dense = stack_holds(stack, kDense);
  if (!c.mamba.inner_norms || !expert_layers(stack)) return false;
  if (dense && c.mlp.activation != MlpActivation::kSwiglu) return false;
  if (!stack_holds(stack, kExperts)) return true;
  const MoeConfig& moe = c.moe;
  return moe.activation == MlpActivation::kSwiglu && moe.router == Router::kSoftmax && !moe.renormalize &&
         moe.shared_experts == 0 && moe.bias_update_rate == 0 &&
         moe.num_experts > 1 &&  // Jamba takes one expert for a dense MLP
         (!dense || moe.d_ff == c.mlp.d_ff);
}

nlohmann::json write_jamba(const ModelConfig& c) {
  const std::string stack = c.stack();
  const auto layers = static_cast<int64_t>(stack.size() / 2);
  const bool experts = stack_holds(stack, kExperts);
  const ExpertLayers where = *expert_layers(stack);
  // Jamba cannot say "no attention": its period has to be longer than the model.
  const int64_t attention_period = std::max<int64_t>(100, layers + 1);
  return {
      {"architectures", {"JambaForCausalLM"}},
      {"model_type", "jamba"},
      {"num_hidden_layers", layers},
      {"rms_norm_eps", c.norm_eps},
      {"mamba_d_state", c.mamba.d_state},
      {"mamba_d_conv", c.mamba.d_conv},
      {"mamba_expand", c.mamba.expand},
      {"mamba_dt_rank", c.dt_rank()},
      {"mamba_conv_bias", c.mamba.conv_bias},
      {"mamba_proj_bias", c.mamba.proj_bias},
      {"hidden_act", "silu"},
      {"intermediate_size", experts ? c.moe.d_ff : c.mlp.d_ff},
      {"num_experts", experts ? c.moe.num_experts : 1},
      {"num_experts_per_tok", experts ? c.moe.top_k : 1},
      {"expert_layer_period", where.period},
      {"expert_layer_offset", where.offset},
      {"attn_layer_period", attention_period},
      {"attn_layer_offset", attention_period - 1},
      {"use_mamba_kernels", false},  // transformers 4 fails on a CPU with true; 5 ignores it
      {"use_cache", false}};  // transformers 5.23 fails to make a cache for Jamba without attention layers
}

HfNames jamba_names(const ModelConfig&) {
  return {.embedding = "model.embed_tokens.weight",
          .final_norm = "model.final_layernorm.weight",
          .norm =
              [](int i) {
                return fmt::format("model.layers.{}.{}.weight", i / 2,
                                   i % 2 == 0 ? "input_layernorm" : "pre_ff_layernorm");
              },
          .block =
              [](int i) {
                return fmt::format("model.layers.{}.{}.", i / 2, i % 2 == 0 ? "mamba" : "feed_forward");
              }};
}

}  // namespace

HfFamily jamba_family() {
  return {.model_type = "jamba",
          .name = "JambaForCausalLM",
          .reads = "JambaForCausalLM without attention layers",
          .read = read_jamba,
          .expresses = jamba_expresses,
          .write = write_jamba,
          .names = jamba_names};
}

}  // namespace natrix
