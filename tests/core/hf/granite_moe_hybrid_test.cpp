// GraniteMoeHybridForCausalLM: with experts, dense, with rotary embeddings.
#include "tests/core/hf/family_cases.h"

namespace natrix::test {
namespace {

TEST(Granite, ReadsExperts) {
  const ModelConfig c = parse_hf(hf_config("granite_moe_hybrid"));
  EXPECT_EQ(c.stack(), "SESE*ESE");
  EXPECT_EQ(c.moe.num_experts, 4);
  EXPECT_EQ(c.moe.d_ff, 24);
  EXPECT_EQ(c.moe.shared_d_ff, 40);
  EXPECT_TRUE(c.moe.renormalize);
  EXPECT_EQ(c.moe.router, Router::kSoftmax);
  EXPECT_EQ(c.embedding_multiplier, 3);
  EXPECT_EQ(c.residual_multiplier, 0.5);
  EXPECT_EQ(c.logits_multiplier, 0.5);
  EXPECT_EQ(c.attention.scale, 0.2);
  EXPECT_EQ(c.attention.rope, Rope::kNone);
  expect_comes_back("granite_moe_hybrid");
}

TEST(Granite, ReadsADenseModel) {
  const ModelConfig c = parse_hf(hf_config("granite_dense"));
  EXPECT_EQ(c.stack(), "S-*-S-S-");
  EXPECT_EQ(c.mlp.d_ff, 64);
  EXPECT_EQ(c.attention.rope, Rope::kNone);
  EXPECT_EQ(c.kv_heads(), 1);
  expect_comes_back("granite_dense", {"position_embedding_type"});  // "nope", or null for the same
}

TEST(Granite, ReadsRotaryEmbeddingsAndLimits) {
  const ModelConfig c = parse_hf(hf_config("granite_rope"));
  EXPECT_EQ(c.stack(), "*ESE*E");
  EXPECT_EQ(c.attention.rope, Rope::kDefault);
  EXPECT_EQ(c.mamba2.dt_min, 0.02);
  EXPECT_EQ(c.mamba2.dt_max, 0.7);
  EXPECT_EQ(c.mamba2.n_groups, 2);
  expect_comes_back("granite_rope");
}

TEST(Granite, ReadsTheSpellingOfTheHub) {
  nlohmann::json config = in_version_4(hf_config("granite_rope"));
  config["layer_types"] = {"attention", "mamba", "attention"};
  EXPECT_EQ(hf_config_json(parse_hf(config), {}), hf_config_json(parse_hf(hf_config("granite_rope")), {}));
  config.erase("layer_types");
  EXPECT_EQ(parse_hf(config).stack(), "SESESE");
  EXPECT_EQ(hf_family(parse_hf(config)).model_type, "granitemoehybrid");
  config["num_local_experts"] = 0;
  for (const char* key : {"embedding_multiplier", "residual_multiplier", "logits_scaling",
                          "attention_multiplier", "position_embedding_type"})
    config.erase(key);  // nothing is left that Bamba does not have
  EXPECT_EQ(hf_family(parse_hf(config)).model_type, "granitemoehybrid");
}

TEST(Granite, LogitsScalingComesBack) {
  nlohmann::json config = hf_config("granite_dense");
  for (const double scaling : {8.0, 6.0, 3.0, 1.7, 49.0, 0.1, 12.34567, 1 / 3.0}) {
    config["logits_scaling"] = scaling;
    const nlohmann::json written = nlohmann::json::parse(hf_config_json(parse_hf(config), {}));
    EXPECT_NEAR(written["logits_scaling"].get<double>(), scaling, 1e-15 * scaling);
    EXPECT_EQ(parse_hf(written).logits_multiplier, 1 / scaling);
  }
}

TEST(Granite, Refuses) {
  const nlohmann::json base = hf_config("granite_rope");
  expect_refused(base, {{"layer_types", {"mamba", "mamba"}},
                        {"layer_types", {"mamba", "mamba", "moe"}},
                        {"layer_types", 3},
                        {"position_embedding_type", "alibi"},
                        {"position_embedding_type", 1},
                        {"hidden_act", "gelu"},
                        {"num_experts_per_tok", 7},
                        {"num_experts_per_tok", 0},
                        {"num_local_experts", -1},
                        {"logits_scaling", 0},
                        {"attention_multiplier", 0},
                        {"embedding_multiplier", "3"},
                        {"mamba_n_heads", 7},
                        {"num_key_value_heads", 3},
                        {"rope_parameters/rope_type", "dynamic"},
                        {"rope_parameters/partial_rotary_factor", 0.5},
                        {"sliding_window", 8}});
  expect_needed(base, {"hidden_size", "vocab_size", "num_hidden_layers", "intermediate_size"});
}

std::string slice_of(const ModelConfig& c, int sublayer, const std::string& own, const Shape& shape) {
  const auto s = hf_family(c).slice(c, {.name = hf_names(c).block(sublayer) + own, .shape = shape});
  return s ? s->name + s->shape.to_string() + "+" + std::to_string(s->first) : "as it is";
}

TEST(Granite, MatricesOfAllExpertsLieInTwoTensors) {
  const ModelConfig c = parse_hf(hf_config("granite_moe_hybrid"));  // E 4, f 24, s 40, d 32
  const std::string layer = "model.layers.1.";
  const Shape in = {24, 32}, out = {32, 24};
  const std::string merged = layer + "block_sparse_moe.input_linear.weight[4, 48, 32]+";
  EXPECT_EQ(slice_of(c, 3, "experts.0.gate_proj.weight", in), merged + "0");
  EXPECT_EQ(slice_of(c, 3, "experts.0.up_proj.weight", in), merged + "768");
  EXPECT_EQ(slice_of(c, 3, "experts.3.gate_proj.weight", in), merged + "4608");
  EXPECT_EQ(slice_of(c, 3, "experts.3.down_proj.weight", out),
            layer + "block_sparse_moe.output_linear.weight[4, 32, 24]+2304");
  EXPECT_EQ(slice_of(c, 3, "shared_experts.up_proj.weight", {40, 32}),
            layer + "shared_mlp.input_linear.weight[80, 32]+1280");
  EXPECT_EQ(slice_of(c, 3, "shared_experts.down_proj.weight", {32, 40}),
            layer + "shared_mlp.output_linear.weight[32, 40]+0");
  EXPECT_EQ(slice_of(c, 3, "router.weight", {4, 32}),
            layer + "block_sparse_moe.router.layer.weight[4, 32]+0");
  EXPECT_EQ(slice_of(c, 4, "q_proj.weight", {32, 32}), "as it is");
  EXPECT_EQ(hf_names(c).block(4), "model.layers.2.self_attn.");
  EXPECT_EQ(hf_names(c).block(2), "model.layers.1.mamba.");
  const ModelConfig dense = parse_hf(hf_config("granite_dense"));  // s 64, d 40
  EXPECT_EQ(slice_of(dense, 1, "up_proj.weight", {64, 40}),
            "model.layers.0.shared_mlp.input_linear.weight[128, 40]+2560");
  EXPECT_EQ(slice_of(dense, 1, "down_proj.weight", {40, 64}),
            "model.layers.0.shared_mlp.output_linear.weight[40, 64]+0");
}

}  // namespace
}  // namespace natrix::test
