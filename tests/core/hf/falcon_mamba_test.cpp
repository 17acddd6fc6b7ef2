// FalconMambaForCausalLM.
#include "tests/core/hf/family_cases.h"

namespace natrix::test {
namespace {

TEST(FalconMamba, Reads) {
  const ModelConfig c = parse_hf(hf_config("falcon_mamba"));
  EXPECT_EQ(c.stack(), "MM");
  EXPECT_EQ(c.norm_eps, 1e-5);
  EXPECT_TRUE(c.mamba.inner_norms);
  EXPECT_FALSE(c.mamba.inner_norm_weights);
  EXPECT_EQ(c.mamba.inner_norm_eps, 1e-6);
  EXPECT_EQ(c.dt_rank(), 3);
  EXPECT_TRUE(c.tie_embeddings);
  expect_comes_back("falcon_mamba");
}

TEST(FalconMamba, TheWidthCountsAndNotExpand) {
  nlohmann::json config = hf_config("falcon_mamba");  // the published 7B has an expand of 16 and this width
  config["expand"] = 16;
  EXPECT_EQ(parse_hf(config).d_inner(), 80);
  EXPECT_EQ(hf_config_json(parse_hf(config), {}), hf_config_json(parse_hf(hf_config("falcon_mamba")), {}));
  config.erase("intermediate_size");
  EXPECT_EQ(parse_hf(config).d_inner(), 16 * 40);
}

TEST(FalconMamba, Refuses) {
  const nlohmann::json base = hf_config("falcon_mamba");
  expect_refused(base, {{"hidden_act", "gelu"},
                        {"intermediate_size", 81},
                        {"mixer_rms_eps", 0},
                        {"mixer_rms_eps", "1e-6"},
                        {"layer_norm_epsilon", -1},
                        {"state_size", 0},
                        {"use_bias", "no"}});
  expect_needed(base, {"hidden_size", "vocab_size", "num_hidden_layers"});
}

TEST(FalconMamba, OnlyNormsWithoutWeightsAreItsOwn) {
  ModelConfig c = parse_hf(hf_config("falcon_mamba"));
  c.mamba.inner_norm_weights = true;
  EXPECT_EQ(hf_family(c).model_type, "natrix");
  c.mamba.inner_norms = false;
  EXPECT_EQ(hf_family(c).model_type, "mamba");
  c.embedding_multiplier = 2;
  EXPECT_EQ(hf_family(c).model_type, "natrix");
  const ModelConfig again = parse_hf_config(hf_config_json(c, {}), "config.json");
  EXPECT_EQ(again.embedding_multiplier, 2);
}

}  // namespace
}  // namespace natrix::test
