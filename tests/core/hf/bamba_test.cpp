// BambaForCausalLM.
#include "tests/core/hf/family_cases.h"

namespace natrix::test {
namespace {

TEST(Bamba, Reads) {
  const ModelConfig c = parse_hf(hf_config("bamba"));
  EXPECT_EQ(c.stack(), "S-*-S-");
  EXPECT_EQ(c.attention.rope, Rope::kDefault);
  EXPECT_EQ(c.attention.rope_fraction, 0.5);
  EXPECT_EQ(c.kv_heads(), 2);
  EXPECT_EQ(c.mamba2_heads(), 8);
  EXPECT_EQ(c.mlp.d_ff, 48);
  expect_comes_back("bamba");
  const HfNames names = hf_names(c);
  EXPECT_EQ(names.block(2), "model.layers.1.self_attn.");
  EXPECT_EQ(names.block(4), "model.layers.2.mamba.");
  EXPECT_EQ(names.norm(5), "model.layers.2.pre_ff_layernorm.weight");
}

TEST(Bamba, ReadsTheSpellingOfTheHub) {
  nlohmann::json config = in_version_4(hf_config("bamba"));
  config.erase("partial_rotary_factor");
  config["mamba_d_head"] = "auto";
  EXPECT_EQ(hf_config_json(parse_hf(config), {}), hf_config_json(parse_hf(hf_config("bamba")), {}));
  config["attn_layer_indices"] = nullptr;
  EXPECT_EQ(parse_hf(config).stack(), "S-S-S-");
  EXPECT_EQ(hf_family(parse_hf(config)).model_type, "bamba");
}

TEST(Bamba, Refuses) {
  expect_refused(hf_config("bamba"), {{"attn_layer_indices", {3}},
                                      {"attn_layer_indices", {-1}},
                                      {"attn_layer_indices", "1"},
                                      {"attn_layer_indices", {0, 1, 2}},
                                      {"mamba_n_heads", 6},
                                      {"mamba_d_head", 4, "mamba_n_heads"},
                                      {"mamba_n_groups", 3},
                                      {"mlp_bias", true},
                                      {"hidden_act", "gelu"},
                                      {"rope_parameters/rope_type", "dynamic"},
                                      {"rope_parameters/partial_rotary_factor", 0},
                                      {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                                      {"num_key_value_heads", 3}});
  expect_needed(hf_config("bamba"), {"hidden_size", "vocab_size", "num_hidden_layers", "intermediate_size"});
}

}  // namespace
}  // namespace natrix::test
