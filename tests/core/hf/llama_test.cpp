// LlamaForCausalLM, and rotary embeddings in the spellings of transformers 4 and 5.
#include "tests/core/hf/family_cases.h"

namespace natrix::test {
namespace {

TEST(Llama, Reads) {
  const ModelConfig c = parse_hf(hf_config("llama"));
  EXPECT_EQ(c.stack(), "*-*-*-");
  EXPECT_EQ(c.attention.num_heads, 6);
  EXPECT_EQ(c.kv_heads(), 2);
  EXPECT_EQ(c.attention_head_dim(), 8);
  EXPECT_EQ(c.attention.rope, Rope::kDefault);
  EXPECT_EQ(c.attention.rope_theta, 10000);
  EXPECT_TRUE(c.tie_embeddings);
  expect_comes_back("llama");
  EXPECT_EQ(hf_config_json(parse_hf(in_version_4(hf_config("llama"))), {}), hf_config_json(c, {}));
  const HfNames names = hf_names(c);
  EXPECT_EQ(names.block(2), "model.layers.1.self_attn.");
  EXPECT_EQ(names.block(3), "model.layers.1.mlp.");
  EXPECT_EQ(names.norm(3), "model.layers.1.post_attention_layernorm.weight");
}

TEST(Llama, HeadsMayHaveAnyWidthAndBiases) {
  nlohmann::json config = hf_config("llama");
  config["head_dim"] = 12;
  config["attention_bias"] = true;
  config["num_key_value_heads"] = nullptr;
  const ModelConfig c = parse_hf(config);
  EXPECT_EQ(c.attention_head_dim(), 12);
  EXPECT_EQ(c.kv_heads(), 6);
  EXPECT_TRUE(c.attention.proj_bias);
  EXPECT_EQ(hf_family(c).model_type, "llama");
}

TEST(Llama, ReadsStretchedRotaryEmbeddings) {
  const auto with = [](const nlohmann::json& scaling) {
    nlohmann::json five = hf_config("llama"), four = in_version_4(five);
    four["rope_scaling"] = scaling;
    five["rope_parameters"].update(scaling);
    const ModelConfig c = parse_hf(five);
    EXPECT_EQ(hf_config_json(parse_hf(four), {}), hf_config_json(c, {}));
    const std::string text = hf_config_json(c, {});
    EXPECT_EQ(hf_config_json(parse_hf_config(text, "c"), {}), text);
    return c.attention;
  };
  const AttentionConfig linear = with({{"rope_type", "linear"}, {"factor", 2.5}});
  EXPECT_EQ(linear.rope, Rope::kLinear);
  EXPECT_EQ(linear.rope_factor, 2.5);
  const AttentionConfig llama3 = with({{"rope_type", "llama3"},
                                       {"factor", 8.0},
                                       {"low_freq_factor", 1.5},
                                       {"high_freq_factor", 5.0},
                                       {"original_max_position_embeddings", 4096}});
  EXPECT_EQ(llama3.rope, Rope::kLlama3);
  EXPECT_EQ(llama3.rope_low_freq_factor, 1.5);
  EXPECT_EQ(llama3.rope_original_length, 4096);
  const AttentionConfig yarn = with({{"rope_type", "yarn"}, {"factor", 4.0}, {"beta_fast", 16}});
  EXPECT_EQ(yarn.rope, Rope::kYarn);
  EXPECT_EQ(yarn.rope_original_length, 2048);  // max_position_embeddings
  EXPECT_EQ(yarn.rope_beta_fast, 16);
  EXPECT_EQ(yarn.rope_beta_slow, 1);
  EXPECT_FALSE(yarn.rope_magnitude);
  EXPECT_EQ(with({{"rope_type", "yarn"}, {"factor", 4.0}, {"attention_factor", 1.25}}).rope_magnitude, 1.25);
  EXPECT_EQ(
      with({{"rope_type", "yarn"}, {"factor", 4.0}, {"mscale", 0.7}, {"mscale_all_dim", 0.7}}).rope_magnitude,
      1);
}

TEST(Llama, OlderFilesSayTypeForRopeType) {
  nlohmann::json config = in_version_4(hf_config("llama"));
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(parse_hf(config).attention.rope_factor, 4);
  config["rope_scaling"] = {{"type", "dynamic"}, {"factor", 4.0}};
  EXPECT_TRUE(
      mentions(message_of<InputError>([&] { parse_hf(config); }), "\"rope_scaling.type\" is \"dynamic\""));
}

TEST(Llama, Refuses) {
  const nlohmann::json base = hf_config("llama");
  expect_refused(base, {{"mlp_bias", true},
                        {"hidden_act", "gelu"},
                        {"sliding_window", 4096},
                        {"attention_bias", "yes"},
                        {"head_dim", 0},
                        {"num_key_value_heads", 4},
                        {"rope_parameters/rope_type", "dynamic"},
                        {"rope_parameters/rope_type", "longrope"},
                        {"rope_parameters/rope_type", 3},
                        {"rope_parameters/rope_theta", 0},
                        {"rope_parameters/partial_rotary_factor", 0.5},
                        {"rope_parameters", {{"rope_type", "linear"}}, "rope_parameters.factor"},
                        {"rope_parameters",
                         {{"rope_type", "yarn"}, {"factor", 2}, {"truncate", false}},
                         "rope_parameters.truncate"},
                        {"rope_parameters", 3}});
  expect_needed(base, {"hidden_size", "vocab_size", "num_hidden_layers", "intermediate_size"});
}

TEST(Llama, AnOddNumberOfTurningChannelsIsRefused) {
  nlohmann::json config = hf_config("llama");
  config["head_dim"] = 7;
  const std::string message = message_of<InputError>([&] { parse_hf(config); });
  EXPECT_TRUE(mentions(message, "dir/config.json") && mentions(message, "head_dim")) << message;
}

}  // namespace
}  // namespace natrix::test
