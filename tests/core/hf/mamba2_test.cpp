// Mamba2ForCausalLM.
#include <cmath>

#include "tests/core/hf/family_cases.h"

namespace natrix::test {
namespace {

TEST(HfMamba2, Reads) {
  const ModelConfig c = parse_hf(hf_config("mamba2_groups"));
  EXPECT_EQ(c.stack(), "SS");
  EXPECT_EQ(c.mamba2_heads(), 8);
  EXPECT_EQ(c.mamba2.head_dim, 8);
  EXPECT_EQ(c.mamba2.n_groups, 2);
  EXPECT_EQ(c.mamba2.d_state, 16);
  EXPECT_EQ(c.mamba2.chunk, 32);
  EXPECT_EQ(c.mamba2.dt_min, 0);
  EXPECT_TRUE(std::isinf(c.mamba2.dt_max));
  EXPECT_FALSE(c.tie_embeddings);
  EXPECT_TRUE(parse_hf(hf_config("mamba2")).tie_embeddings);
  expect_comes_back("mamba2");
  expect_comes_back("mamba2_groups");
}

TEST(HfMamba2, ReadsTheSpellingOfTheHub) {
  std::string text = hf_config("mamba2").dump();
  const std::string tagged = R"({"__float__":"Infinity"})";
  text.replace(text.find(tagged), tagged.size(), "Infinity");
  EXPECT_EQ(hf_config_json(parse_hf_config(text, "c"), {}),
            hf_config_json(parse_hf(hf_config("mamba2")), {}));
  nlohmann::json finite = hf_config("mamba2");
  finite["time_step_limit"] = {0.001, 0.1};
  finite["rms_norm"] = true;
  EXPECT_EQ(parse_hf(finite).mamba2.dt_max, 0.1);
}

TEST(HfMamba2, Refuses) {
  const nlohmann::json base = hf_config("mamba2");
  expect_refused(base, {{"num_heads", 7},
                        {"num_heads", 0},
                        {"head_dim", 16, "num_heads"},
                        {"head_dim", "big"},
                        {"n_groups", 3},
                        {"n_groups", 0},
                        {"state_size", 0},
                        {"conv_kernel", 0},
                        {"chunk_size", 0},
                        {"time_step_limit", {2, 1}},
                        {"use_bias", 1},
                        {"rms_norm", false},
                        {"hidden_act", "gelu"}});
  expect_needed(base, {"hidden_size", "vocab_size", "num_hidden_layers", "num_heads"});
}

TEST(HfMamba2, WhatTheClassCannotSayIsWrittenAsOurs) {
  const ModelConfig mamba2 = parse_hf(hf_config("mamba2"));
  const auto family_with = [&](auto&& change) {
    ModelConfig c = mamba2;
    change(c);
    return hf_family(c).model_type;
  };
  EXPECT_EQ(family_with([](auto&) {}), "mamba2");
  EXPECT_EQ(family_with([](auto& c) { c.mamba2.num_heads = {}; }), "mamba2");
  for (const auto change : std::vector<void (*)(ModelConfig&)>{
           [](auto& c) { c.mamba2.norm = false; }, [](auto& c) { c.mamba2.norm_before_gate = true; },
           [](auto& c) { c.mamba2.num_heads = 9; }, [](auto& c) { c.mamba2.B_multiplier = 2; },
           [](auto& c) { c.residual_multiplier = 0.5; }}) {
    EXPECT_EQ(family_with(change), "natrix");
  }
}

}  // namespace
}  // namespace natrix::test
