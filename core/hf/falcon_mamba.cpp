// FalconMambaForCausalLM: Mamba-1 layers with norms on dt, B and C that have no weights, and an eps of their
// own.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/config_keys.h"
#include "core/hf/families.h"
#include "core/hf/model_traits.h"

namespace natrix {
namespace {

constexpr char kFalconMambaLayer = 'M';

ModelConfig read_falcon_mamba(const JsonObject& j) {
  ModelConfig c;
  hf::set_stack(
      c, std::string(static_cast<size_t>(j.integer("num_hidden_layers", 1, kMostLayers)), kFalconMambaLayer));
  hf::read_common(j, true, c);
  c.norm_eps = j.number("layer_norm_epsilon", kLeastEps, kMostEps, 1e-5);
  c.mamba.d_state = j.integer("state_size", 1, kMostStates, 16);
  c.mamba.d_conv = j.integer("conv_kernel", 1, kMostTaps, 4);
  c.mamba.expand = j.integer("expand", 1, kMostExpand, 2);
  // The class takes intermediate_size over expand, and the published 7B has an expand that is wrong.
  if (hf::given(j, "intermediate_size")) {
    const int64_t width = j.integer("intermediate_size", 1, kMostWidth * kMostExpand);
    if (width % c.d_model != 0 || width / c.d_model > kMostExpand)
      j.fail("intermediate_size", fmt::format("a multiple of hidden_size = {}", c.d_model));
    c.mamba.expand = width / c.d_model;
  }
  c.mamba.dt_rank = hf::dt_rank(j, "time_step_rank", c.d_model);
  c.mamba.inner_norms = true;
  c.mamba.inner_norm_weights = false;
  c.mamba.inner_norm_eps = j.number("mixer_rms_eps", kLeastEps, kMostEps, 1e-6);
  c.mamba.conv_bias = j.boolean("use_conv_bias", true);
  c.mamba.proj_bias = j.boolean("use_bias", false);
  hf::expect_silu(j);
  return c;
}

bool falcon_mamba_expresses(const ModelConfig& c) {
  return c.stack().find_first_not_of(kFalconMambaLayer) == std::string::npos && c.mamba.inner_norms &&
         !c.mamba.inner_norm_weights && hf::plain_stream(c);
}

nlohmann::json write_falcon_mamba(const ModelConfig& c) {
  return {{"architectures", {"FalconMambaForCausalLM"}},
          {"model_type", "falcon_mamba"},
          {"num_hidden_layers", c.stack().size()},
          {"layer_norm_epsilon", c.norm_eps},
          {"mixer_rms_eps", c.mamba.inner_norm_eps.value_or(c.norm_eps)},
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

HfNames falcon_mamba_names(const ModelConfig&) {
  return {.embedding = "backbone.embeddings.weight",
          .final_norm = "backbone.norm_f.weight",
          .norm = [](int i) { return fmt::format("backbone.layers.{}.norm.weight", i); },
          .block = [](int i) { return fmt::format("backbone.layers.{}.mixer.", i); }};
}

}  // namespace

HfFamily falcon_mamba_family() {
  return {.model_type = "falcon_mamba",
          .name = "FalconMambaForCausalLM",
          .reads = "FalconMambaForCausalLM",
          .read = read_falcon_mamba,
          .expresses = falcon_mamba_expresses,
          .write = write_falcon_mamba,
          .names = falcon_mamba_names};
}

}  // namespace natrix
