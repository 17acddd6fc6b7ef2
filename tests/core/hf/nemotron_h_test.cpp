// NemotronHForCausalLM: Nemotron-H and Nemotron-3.
#include "core/hf/hf_checkpoint.h"
#include "kernels/base/buffer.h"
#include "tests/core/hf/family_cases.h"

namespace natrix::test {
namespace {

TEST(NemotronH, Reads) {
  const ModelConfig c = parse_hf(hf_config("nemotron3"));
  EXPECT_EQ(c.stack(), "SE*S-E");
  EXPECT_EQ(c.mamba2_heads(), 9);
  EXPECT_EQ(c.mamba2.n_groups, 3);
  EXPECT_EQ(c.attention_head_dim(), 16);
  EXPECT_EQ(c.attention.rope, Rope::kNone) << "its rope keys mean nothing";
  EXPECT_EQ(c.mlp.activation, MlpActivation::kRelu2);
  EXPECT_EQ(c.mlp.d_ff, 56);
  EXPECT_EQ(c.moe.router, Router::kSigmoid);
  EXPECT_EQ(c.moe.num_experts, 12);
  EXPECT_EQ(c.moe.top_k, 3);
  EXPECT_EQ(c.moe.groups, 4);
  EXPECT_EQ(c.moe.top_groups, 2);
  EXPECT_EQ(c.moe.latent, 24);
  EXPECT_EQ(c.moe.shared_experts, 1);
  EXPECT_EQ(c.moe.shared_d_ff, 36);
  EXPECT_EQ(c.moe.routed_scaling, 2.5);
  EXPECT_TRUE(c.moe.renormalize);
  EXPECT_TRUE(c.moe.selection_bias);
  EXPECT_FALSE(parse_hf(hf_config("hybrid_long")).moe.renormalize);
  for (const char* name : {"nemotron3", "nemotron_h", "hybrid_long"}) expect_comes_back(name);
}

TEST(NemotronH, ReadsLayersInEverySpelling) {
  const nlohmann::json five = hf_config("nemotron_h");
  const std::string expected = hf_config_json(parse_hf(five), {});
  const auto expect_same = [&](auto&& change) {
    nlohmann::json config = five;
    change(config);
    EXPECT_EQ(hf_config_json(parse_hf(config), {}), expected);
  };
  const nlohmann::json older = {"mamba", "moe", "mamba", "attention", "moe", "mlp", "mamba"};
  expect_same([&](auto& c) { c["layers_block_type"] = older; });
  expect_same([](auto& c) {
    c.erase("layers_block_type");
    c["hybrid_override_pattern"] = "MEM*E-M";
    c["num_hidden_layers"] = 7;
  });
  expect_same([](auto& c) { c["hybrid_override_pattern"] = "MEM*E-M"; });
  expect_same([&](auto& c) {
    c.erase("layers_block_type");
    c["layer_types"] = older;
  });
}

TEST(NemotronH, ModelsWithoutSomeKindOfLayerNeedNotDescribeIt) {
  nlohmann::json config = hf_config("nemotron_h");
  config["layers_block_type"] = {"mamba", "attention"};
  for (const char* key : {"n_routed_experts", "moe_intermediate_size", "intermediate_size"})
    config.erase(key);
  EXPECT_EQ(parse_hf(config).stack(), "S*");
  config["layers_block_type"] = {"mamba", "mlp"};
  EXPECT_TRUE(
      mentions(message_of<InputError>([&] { parse_hf(config); }), "\"intermediate_size\" is missing"));
}

TEST(NemotronH, Refuses) {
  const nlohmann::json base = hf_config("nemotron3");
  expect_refused(base, {{"layers_block_type", {"mamba", "rwkv"}},
                        {"layers_block_type", nlohmann::json::array()},
                        {"layers_block_type", "MEM"},
                        {"layers_block_type", {1, 2}},
                        {"hybrid_override_pattern", "MEM"},
                        {"hybrid_override_pattern", "MExS-E"},
                        {"num_hidden_layers", 5},
                        {"tie_word_embeddings", true},
                        {"mlp_hidden_act", "silu"},
                        {"mamba_hidden_act", "gelu"},
                        {"attention_bias", true},
                        {"mlp_bias", true},
                        {"mamba_proj_bias", true},
                        {"sliding_window", 4},
                        {"n_group", 5},
                        {"n_group", 12},
                        {"topk_group", 5},
                        {"num_experts_per_tok", 7},
                        {"n_shared_experts", 2},
                        {"moe_latent_size", 0},
                        {"routed_scaling_factor", "2"},
                        {"n_groups", 2},
                        {"mamba_d_conv", 4}});
  expect_needed(base, {"hidden_size", "vocab_size", "layers_block_type", "moe_intermediate_size",
                       "moe_shared_expert_intermediate_size", "intermediate_size"});
}

TEST(NemotronH, WhatTheClassCannotSayIsWrittenAsOurs) {
  for (const auto change : std::vector<void (*)(ModelConfig&)>{
           [](auto& c) { c.tie_embeddings = true; }, [](auto& c) { c.attention.rope = Rope::kDefault; },
           [](auto& c) { c.attention.scale = 0.1; }, [](auto& c) { c.moe.shared_experts = 2; },
           [](auto& c) { c.moe.selection_bias = false; }, [](auto& c) { c.moe.router = Router::kSoftmax; },
           [](auto& c) { c.mlp.activation = MlpActivation::kSwiglu; },
           [](auto& c) { c.logits_multiplier = 2; }, [](auto& c) { c.pattern = "S(S*)E-"; }}) {
    ModelConfig c = parse_hf(hf_config("nemotron3"));
    change(c);
    EXPECT_EQ(hf_family(c).model_type, "natrix");
  }
  ModelConfig c = parse_hf(hf_config("nemotron3"));
  c.moe.bias_update_rate = 1e-3;  // how the bias is trained is no matter of the file
  EXPECT_EQ(hf_family(c).model_type, "nemotron_h");
}

TEST(NemotronH, TheRouterIsCalledGate) {
  const ModelConfig c = parse_hf(hf_config("nemotron3"));
  const HfFamily& family = hf_family(c);
  const auto name_of = [&](const std::string& own) {
    const auto slice = family.slice(c, {.name = hf_names(c).block(1) + own, .shape = {12, 48}});
    return slice ? slice->name : "as it is";
  };
  EXPECT_EQ(name_of("router.weight"), "backbone.layers.1.mixer.gate.weight");
  EXPECT_EQ(name_of("router.e_score_correction_bias"),
            "backbone.layers.1.mixer.gate.e_score_correction_bias");
  EXPECT_EQ(name_of("experts.3.up_proj.weight"), "as it is");
}

TEST(NemotronH, LayersThatPredictSeveralTokensAreLeftOutWithANote) {
  const ScratchDir dir;
  nlohmann::json config = hf_config("nemotron_h");
  write_file(dir / "config.json", config.dump());
  const Buffer some(Dtype::kF32, {2});
  std::vector<std::string> notes;
  const auto read = [&](const std::string& tensor) {
    notes.clear();
    write_safetensors(dir / "model.safetensors", {{tensor, some.view()}});
    read_model_config(dir.path(), [&](const std::string& note) { notes.push_back(note); });
  };
  read("mtp.layers.0.mixer.up_proj.weight");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_TRUE(mentions(notes[0], "mtp.layers.0.mixer.up_proj.weight") && mentions(notes[0], "1 tensor"));
  read("mt.layers.0.mixer.up_proj.weight");
  EXPECT_TRUE(notes.empty());
}

}  // namespace
}  // namespace natrix::test
