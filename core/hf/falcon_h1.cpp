// FalconH1ForCausalLM: in every layer Mamba-2 and attention side by side on one input, then a dense SwiGLU
// MLP; multipliers nearly everywhere.
//
// A layer is two sublayers of the stack, "(S*)" and "-".
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/attention_keys.h"
#include "core/hf/families.h"
#include "core/hf/mamba2_keys.h"
#include "core/hf/model_traits.h"

namespace natrix {
namespace {

constexpr const char* kParallel = "S*";

void read_falcon_h1_multipliers(const JsonObject& j, ModelConfig& c) {
  c.embedding_multiplier = hf::multiplier(j, "embedding_multiplier");
  c.logits_multiplier = hf::multiplier(j, "lm_head_multiplier");
  c.mamba2.in_multiplier = hf::multiplier(j, "ssm_in_multiplier");
  c.mamba2.out_multiplier = hf::multiplier(j, "ssm_out_multiplier");
  const std::vector<double> parts = hf::multipliers(j, "ssm_multipliers", 5);
  c.mamba2.z_multiplier = parts[0];
  c.mamba2.x_multiplier = parts[1];
  c.mamba2.B_multiplier = parts[2];
  c.mamba2.C_multiplier = parts[3];
  c.mamba2.dt_multiplier = parts[4];
  c.attention.in_multiplier = hf::multiplier(j, "attention_in_multiplier");
  c.attention.out_multiplier = hf::multiplier(j, "attention_out_multiplier");
  c.attention.key_multiplier = hf::multiplier(j, "key_multiplier");
  const std::vector<double> mlp = hf::multipliers(j, "mlp_multipliers", 2);
  c.mlp.gate_multiplier = mlp[0];
  c.mlp.out_multiplier = mlp[1];
}

void read_falcon_h1_mamba(const JsonObject& j, ModelConfig& c) {
  const Mamba2Config defaults = hf::hybrid_mamba2_defaults();
  const bool expanded = j.has("mamba_d_ssm") && !hf::given(j, "mamba_d_ssm");
  const int64_t width = expanded ? hf::expanded_width(j, hf::kHybridSpelling, defaults, c.d_model)
                                 : j.integer("mamba_d_ssm", 1, kMostWidth, 1024);
  hf::read_mamba2(j, hf::kHybridSpelling, defaults, width, c);
  c.mamba2.norm = j.boolean("mamba_rms_norm", false);
  c.mamba2.norm_before_gate = j.boolean("mamba_norm_before_gate", true);
  // One switch for the biases of in_proj and out_proj is all that a Mamba-2 layer has.
  if (j.boolean("projectors_bias", false) != c.mamba2.proj_bias) {
    const std::string key = j.has("projectors_bias") ? "projectors_bias" : "mamba_proj_bias";
    j.fail(key, fmt::format("projectors_bias (of out_proj) equal to mamba_proj_bias (of in_proj), {}",
                            c.mamba2.proj_bias));
  }
}

ModelConfig read_falcon_h1(const JsonObject& j) {
  ModelConfig c;
  c.repeat = j.integer("num_hidden_layers", 1, kMostLayers / 2);
  c.pattern = "(S*)-";
  hf::read_common(j, false, c);
  c.norm_eps = j.number("rms_norm_eps", kLeastEps, kMostEps, 1e-5);
  read_falcon_h1_mamba(j, c);
  hf::read_attention(j, 8, true, c);
  hf::read_rope(j, 1, true, c);
  read_falcon_h1_multipliers(j, c);
  c.mlp.d_ff = j.integer("intermediate_size", 1, kMostWidth);
  hf::expect_silu(j);
  hf::expect_false(j, "mlp_bias");
  hf::expect_null(j, "sliding_window");
  hf::expect_null(j, "attn_layer_indices");
  if (hf::given(j, "mamba_use_mlp") && !j.boolean("mamba_use_mlp"))
    j.fail("mamba_use_mlp", "true: natrix has no Falcon-H1 without MLPs");
  c.mamba.dt_rank = c.dt_rank();
  return c;
}

bool falcon_h1_expresses(const ModelConfig& c) {
  const std::vector<std::string> sublayers = c.sublayers();
  if (sublayers.empty() || sublayers.size() % 2 != 0) return false;
  for (size_t i = 0; i < sublayers.size(); ++i) {
    if (sublayers[i] != (i % 2 == 0 ? kParallel : "-")) return false;
  }
  const AttentionConfig& a = c.attention;
  return a.rope != Rope::kNone && a.rope_fraction == 1 && !a.scale && !a.window &&
         c.residual_multiplier == 1 && c.mlp.activation == MlpActivation::kSwiglu;
}

nlohmann::json write_falcon_h1(const ModelConfig& c) {
  const Mamba2Config& m = c.mamba2;
  const AttentionConfig& a = c.attention;
  nlohmann::json out = {
      {"architectures", {"FalconH1ForCausalLM"}},
      {"model_type", "falcon_h1"},
      {"num_hidden_layers", c.sublayers().size() / 2},
      {"rms_norm_eps", c.norm_eps},
      {"intermediate_size", c.mlp.d_ff},
      {"hidden_act", "silu"},
      {"mlp_bias", false},
      {"mamba_d_ssm", c.mamba2_heads() * m.head_dim},
      {"mamba_rms_norm", m.norm},
      {"mamba_norm_before_gate", m.norm_before_gate},
      {"projectors_bias", m.proj_bias},
      {"embedding_multiplier", c.embedding_multiplier},
      {"lm_head_multiplier", c.logits_multiplier},
      {"ssm_in_multiplier", m.in_multiplier},
      {"ssm_out_multiplier", m.out_multiplier},
      {"ssm_multipliers", {m.z_multiplier, m.x_multiplier, m.B_multiplier, m.C_multiplier, m.dt_multiplier}},
      {"attention_in_multiplier", a.in_multiplier},
      {"attention_out_multiplier", a.out_multiplier},
      {"key_multiplier", a.key_multiplier},
      {"mlp_multipliers", {c.mlp.gate_multiplier, c.mlp.out_multiplier}},
      {"rope_parameters", hf::rope_json(1, c)},
      {"use_cache", true}};
  out.update(hf::mamba2_json(hf::kHybridSpelling, c));
  out.update(hf::attention_json(true, c));
  return out;
}

HfNames falcon_h1_names(const ModelConfig&) {
  return {
      .embedding = "model.embed_tokens.weight",
      .final_norm = "model.final_layernorm.weight",
      .norm =
          [](int i) {
            return fmt::format("model.layers.{}.{}.weight", i / 2,
                               i % 2 == 0 ? "input_layernorm" : "pre_ff_layernorm");
          },
      // The mixers in parallel append "mamba." and "self_attn.".
      .block =
          [](int i) { return fmt::format("model.layers.{}.{}", i / 2, i % 2 == 0 ? "" : "feed_forward."); }};
}

}  // namespace

HfFamily falcon_h1_family() {
  return {.model_type = "falcon_h1",
          .name = "FalconH1ForCausalLM",
          .reads = "FalconH1ForCausalLM",
          .read = read_falcon_h1,
          .expresses = falcon_h1_expresses,
          .write = write_falcon_h1,
          .names = falcon_h1_names};
}

}  // namespace natrix
