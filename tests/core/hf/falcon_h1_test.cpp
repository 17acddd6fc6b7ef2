// FalconH1ForCausalLM.
#include "tests/core/hf/family_cases.h"

namespace natrix::test {
namespace {

TEST(FalconH1, Reads) {
  const ModelConfig c = parse_hf(hf_config("falcon_h1"));
  EXPECT_EQ(c.pattern, "(S*)-");
  EXPECT_EQ(c.repeat, 3);
  EXPECT_EQ(c.mamba2_heads() * c.mamba2.head_dim, 64);
  EXPECT_TRUE(c.mamba2.norm);
  EXPECT_FALSE(c.mamba2.norm_before_gate);
  EXPECT_EQ(c.attention_head_dim(), 16);
  EXPECT_EQ(c.attention.rope_theta, 1e11);
  EXPECT_EQ(c.attention.in_multiplier, 0.8);
  EXPECT_EQ(c.attention.out_multiplier, 0.7);
  EXPECT_EQ(c.attention.key_multiplier, 0.55);
  EXPECT_EQ(c.mamba2.in_multiplier, 1.3);
  EXPECT_EQ(c.mamba2.out_multiplier, 0.6);
  EXPECT_EQ(c.mamba2.z_multiplier, 0.7);
  EXPECT_EQ(c.mamba2.x_multiplier, 1.4);
  EXPECT_EQ(c.mamba2.B_multiplier, 0.5);
  EXPECT_EQ(c.mamba2.C_multiplier, 1.2);
  EXPECT_EQ(c.mamba2.dt_multiplier, 0.8);
  EXPECT_EQ(c.mlp.gate_multiplier, 0.9);
  EXPECT_EQ(c.mlp.out_multiplier, 0.45);
  EXPECT_EQ(c.embedding_multiplier, 1.6);
  EXPECT_EQ(c.logits_multiplier, 0.35);
  EXPECT_FALSE(parse_hf(hf_config("falcon_h1_plain")).mamba2.norm);
  expect_comes_back("falcon_h1");
  expect_comes_back("falcon_h1_plain");
  const HfNames names = hf_names(c);
  EXPECT_EQ(names.block(2), "model.layers.1.");
  EXPECT_EQ(names.block(3), "model.layers.1.feed_forward.");
  EXPECT_EQ(names.norm(3), "model.layers.1.pre_ff_layernorm.weight");
}

TEST(FalconH1, ReadsTheSpellingOfTheHub) {
  nlohmann::json config = in_version_4(hf_config("falcon_h1"));
  config["mamba_use_mlp"] = true;
  config["attn_layer_indices"] = nullptr;
  config["mamba_d_head"] = "auto";
  EXPECT_EQ(hf_config_json(parse_hf(config), {}), hf_config_json(parse_hf(hf_config("falcon_h1")), {}));
  config["mamba_d_ssm"] = nullptr;  // expand · d = 80 = 8 heads of 10
  EXPECT_EQ(parse_hf(config).mamba2.head_dim, 10);
  config["mlp_multipliers"] = nullptr;
  config["ssm_multipliers"] = nullptr;
  EXPECT_EQ(parse_hf(config).mamba2.z_multiplier, 1);
}

TEST(FalconH1, Refuses) {
  const nlohmann::json base = hf_config("falcon_h1");
  expect_refused(base, {{"mamba_d_ssm", 72, "mamba_n_heads"},
                        {"mamba_d_ssm", 0},
                        {"projectors_bias", true},
                        {"mamba_proj_bias", true, "projectors_bias"},
                        {"mlp_bias", true},
                        {"mamba_use_mlp", false},
                        {"attn_layer_indices", {1}},
                        {"ssm_multipliers", {1, 2, 3, 4}},
                        {"ssm_multipliers", {1, 2, 3, 4, "5"}},
                        {"mlp_multipliers", 0.5},
                        {"key_multiplier", "1"},
                        {"lm_head_multiplier", 1e9},
                        {"hidden_act", "gelu"},
                        {"rope_parameters/rope_type", "ntk"},
                        {"sliding_window", 9},
                        {"mamba_n_groups", 3}});
  expect_needed(base, {"hidden_size", "vocab_size", "num_hidden_layers", "intermediate_size"});
}

TEST(FalconH1, WhatTheClassCannotSayIsWrittenAsOurs) {
  for (const auto change : std::vector<void (*)(ModelConfig&)>{
           [](auto& c) { c.residual_multiplier = 0.5; }, [](auto& c) { c.attention.rope = Rope::kNone; },
           [](auto& c) { c.attention.window = 8; }, [](auto& c) { c.pattern = "(*S)-"; },
           [](auto& c) { c.mlp.activation = MlpActivation::kGelu; }, [](auto& c) { c.pattern = "(S*)E"; }}) {
    ModelConfig c = parse_hf(hf_config("falcon_h1"));
    change(c);
    EXPECT_EQ(hf_family(c).model_type, "natrix");
  }
}

}  // namespace
}  // namespace natrix::test
