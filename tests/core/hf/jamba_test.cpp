// JambaForCausalLM with attention layers; without: hf_formats_test.cpp.
#include "tests/core/hf/family_cases.h"

namespace natrix::test {
namespace {

TEST(HfJamba, ReadsAttention) {
  const ModelConfig c = parse_hf(hf_config("jamba_attention"));
  EXPECT_EQ(c.stack(), "M-ME*-ME");
  EXPECT_EQ(c.attention.num_heads, 4);
  EXPECT_EQ(c.kv_heads(), 2);
  EXPECT_EQ(c.attention_head_dim(), 10);
  EXPECT_EQ(c.attention.rope, Rope::kNone);
  EXPECT_FALSE(c.attention.scale);
  expect_comes_back("jamba_attention", {"use_mamba_kernels"});
  const HfNames names = hf_names(c);
  EXPECT_EQ(names.block(4), "model.layers.2.self_attn.");
  EXPECT_EQ(names.block(6), "model.layers.3.mamba.");
  EXPECT_EQ(names.block(5), "model.layers.2.feed_forward.");
}

TEST(HfJamba, ASecondAttentionLayerDecidesThePeriod) {
  ModelConfig c = parse_hf(hf_config("jamba_attention"));
  c.pattern = "M-*EM-ME*-ME";  // attention in 1 and 4 of 6
  c.repeat = 1;
  c.mamba.dt_rank = c.dt_rank();
  EXPECT_EQ(hf_family(c).model_type, "jamba");
  const nlohmann::json written = nlohmann::json::parse(hf_config_json(c, {}));
  EXPECT_EQ(written["attn_layer_period"], 3);
  EXPECT_EQ(written["attn_layer_offset"], 1);
  EXPECT_EQ(parse_hf(written).stack(), c.stack());
  for (const char* pattern : {"*-*-M-", "M-*-*-M-", "M**-"}) {  // no period says these
    c.pattern = pattern;
    EXPECT_EQ(hf_family(c).model_type, "natrix") << pattern;
  }
}

TEST(HfJamba, Refuses) {
  const nlohmann::json base = hf_config("jamba_attention");
  expect_refused(base, {{"num_key_value_heads", 3},
                        {"num_attention_heads", 3, "num_key_value_heads"},
                        {"num_attention_heads", 6, "num_attention_heads"},
                        {"attention_bias", true},
                        {"sliding_window", 128},
                        {"attn_layer_offset", 4},
                        {"hidden_act", "relu"}});
}

TEST(HfJamba, WhatTheClassCannotSayIsWrittenAsOurs) {
  for (const auto change : std::vector<void (*)(ModelConfig&)>{
           [](auto& c) { c.attention.rope = Rope::kDefault; }, [](auto& c) { c.attention.scale = 0.1; },
           [](auto& c) { c.attention.window = 8; }, [](auto& c) { c.attention.proj_bias = true; },
           [](auto& c) { c.attention.head_dim = 8; }, [](auto& c) { c.moe.routed_scaling = 2; },
           [](auto& c) { c.moe.selection_bias = true; }, [](auto& c) { c.moe.latent = 8; },
           [](auto& c) { c.mamba.inner_norm_weights = false; }, [](auto& c) { c.mlp.gate_multiplier = 2; }}) {
    ModelConfig c = parse_hf(hf_config("jamba_attention"));
    change(c);
    EXPECT_EQ(hf_family(c).model_type, "natrix");
  }
}

}  // namespace
}  // namespace natrix::test
