// MambaForCausalLM: a stack of Mamba-1 layers and nothing else.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/config_keys.h"
#include "core/hf/families.h"
#include "core/hf/model_traits.h"

namespace natrix {
namespace {

constexpr char kMambaLayer = 'M';

ModelConfig read_mamba(const JsonObject& j) {
  ModelConfig c;
  hf::set_stack(
      c, std::string(static_cast<size_t>(j.integer("num_hidden_layers", 1, kMostLayers)), kMambaLayer));
  hf::read_common(j, true, c);
  c.norm_eps = j.number("layer_norm_epsilon", kLeastEps, kMostEps, 1e-5);
  c.mamba.d_state = j.integer("state_size", 1, kMostStates, 16);
  c.mamba.d_conv = j.integer("conv_kernel", 1, kMostTaps, 4);
  c.mamba.expand = j.integer("expand", 1, kMostExpand, 2);
  c.mamba.dt_rank = hf::dt_rank(j, "time_step_rank", c.d_model);
  c.mamba.inner_norms = false;
  c.mamba.conv_bias = j.boolean("use_conv_bias", true);
  c.mamba.proj_bias = j.boolean("use_bias", false);
  hf::expect_silu(j);
  if (j.integer("intermediate_size", 1, kMostWidth * kMostExpand, c.d_inner()) != c.d_inner()) {
    j.fail("intermediate_size", fmt::format("expand · hidden_size = {}", c.d_inner()));
  }
  return c;
}

bool mamba_expresses(const ModelConfig& c) {
  return c.stack().find_first_not_of(kMambaLayer) == std::string::npos && !c.mamba.inner_norms &&
         hf::plain_stream(c);
}

nlohmann::json write_mamba(const ModelConfig& c) {
  return {{"architectures", {"MambaForCausalLM"}},
          {"model_type", "mamba"},
          {"num_hidden_layers", c.stack().size()},
          {"layer_norm_epsilon", c.norm_eps},
          {"state_size", c.mamba.d_state},
          {"conv_kernel", c.mamba.d_conv},
          {"expand", c.mamba.expand},
          {"intermediate_size", c.d_inner()},
          {"time_step_rank", c.dt_rank()},
          {"use_conv_bias", c.mamba.conv_bias},
          {"use_bias", c.mamba.proj_bias},
          {"hidden_act", "silu"},
          {"residual_in_fp32", true},
          {"use_cache", true}};
}

HfNames mamba_names(const ModelConfig&) {
  return {.embedding = "backbone.embeddings.weight",
          .final_norm = "backbone.norm_f.weight",
          .norm = [](int i) { return fmt::format("backbone.layers.{}.norm.weight", i); },
          .block = [](int i) { return fmt::format("backbone.layers.{}.mixer.", i); }};
}

}  // namespace

HfFamily mamba_family() {
  return {.model_type = "mamba",
          .name = "MambaForCausalLM",
          .reads = "MambaForCausalLM",
          .read = read_mamba,
          .expresses = mamba_expresses,
          .write = write_mamba,
          .names = mamba_names};
}

}  // namespace natrix
