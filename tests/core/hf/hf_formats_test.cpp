// config.json: configurations as transformers writes them, what is refused and how, and our own files read
// back.
#include "core/hf/hf_formats.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/base/check.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using nlohmann::json;
using test::mentions;
using test::message_of;

std::string folder(const std::string& name) {
  return NATRIX_TEST_DATA "/hf/" + name;
}

json config_of(const std::string& name) {
  return json::parse(test::read_file(folder(name) + "/config.json"));
}

ModelConfig parse(const json& config) {
  return parse_hf_config(config.dump(), "dir/config.json");
}

/// Everything that a config.json of family natrix holds.
std::string fingerprint(const ModelConfig& c) {
  ModelConfig own = c;
  own.moe.bias_update_rate += 1;  // no HF class has a selection bias: forces the family that holds all
  return hf_config_json(own, {});
}

TEST(HfFormats, ReadsMamba) {
  const ModelConfig c = read_hf_config(folder("mamba_untied_bias_n8_k3"));
  EXPECT_EQ(c.stack(), "MM");
  EXPECT_EQ(c.pattern, "M");
  EXPECT_EQ(c.d_model, 24);
  EXPECT_EQ(c.vocab_size, 131);
  EXPECT_FALSE(c.tie_embeddings);
  EXPECT_EQ(c.norm_eps, 1e-5);
  EXPECT_EQ(c.mamba.d_state, 8);
  EXPECT_EQ(c.mamba.d_conv, 3);
  EXPECT_EQ(c.mamba.expand, 3);
  EXPECT_EQ(c.dt_rank(), 5);
  EXPECT_FALSE(c.mamba.inner_norms);
  EXPECT_FALSE(c.mamba.conv_bias);
  EXPECT_TRUE(c.mamba.proj_bias);
  EXPECT_TRUE(read_hf_config(folder("mamba_tiny")).tie_embeddings);
  EXPECT_EQ(read_hf_config(folder("mamba_bf16")).d_model, 32);
}

TEST(HfFormats, ReadsJamba) {
  const ModelConfig c = read_hf_config(folder("jamba_mixed_top1_sharded"));
  EXPECT_EQ(c.stack(), "M-MEM-ME");
  EXPECT_EQ(c.pattern, "M-ME");
  EXPECT_EQ(c.repeat, 2);
  EXPECT_EQ(c.moe.num_experts, 8);
  EXPECT_EQ(c.moe.top_k, 1);
  EXPECT_EQ(c.moe.d_ff, 72);
  EXPECT_EQ(c.mlp.d_ff, 72);
  EXPECT_FALSE(c.moe.renormalize);
  EXPECT_EQ(c.norm_eps, 1e-6);
  EXPECT_TRUE(c.mamba.inner_norms);
  EXPECT_TRUE(c.tie_embeddings);
  EXPECT_EQ(read_hf_config(folder("jamba_moe")).stack(), "MEMEME");
  EXPECT_EQ(read_hf_config(folder("jamba_long")).moe.num_experts, 3);
}

TEST(HfFormats, JambaWithOneExpertIsDense) {
  json config = config_of("jamba_moe");
  config["num_experts"] = 1;
  config["num_experts_per_tok"] = 2;
  EXPECT_EQ(parse(config).stack(), "M-M-M-");
}

TEST(HfFormats, AutoRankIsASixteenthOfTheWidth) {
  json mamba = config_of("mamba_tiny");
  mamba["time_step_rank"] = "auto";
  EXPECT_EQ(parse(mamba).mamba.dt_rank, 3);  // ceil(40 / 16)
  json jamba = config_of("jamba_moe");
  jamba["mamba_dt_rank"] = "auto";
  EXPECT_EQ(parse(jamba).mamba.dt_rank, 3);
}

TEST(HfFormats, RefusesWhatItCannotRunByName) {
  json config = config_of("llama");
  config["model_type"] = "mistral";
  config["architectures"] = {"MistralForCausalLM"};
  const std::string message = message_of<InputError>([&] { parse(config); });
  EXPECT_TRUE(mentions(message, "dir/config.json"));
  EXPECT_TRUE(mentions(message, "MistralForCausalLM"));
  for (const HfFamily& family : hf_families()) EXPECT_TRUE(mentions(message, std::string(family.reads)));
}

TEST(HfFormats, ImpossibleValuesAreRefusedByFileAndKey) {
  struct Bad {
    const char* base;
    const char* key;
    json value;
  };
  const std::vector<Bad> cases = {
      {"mamba_tiny", "hidden_size", 0},
      {"mamba_tiny", "hidden_size", -40},
      {"mamba_tiny", "hidden_size", 40.0},
      {"mamba_tiny", "hidden_size", "40"},
      {"mamba_tiny", "hidden_size", true},
      {"mamba_tiny", "hidden_size", nullptr},
      {"mamba_tiny", "hidden_size", 1'000'000'000'000},
      {"mamba_tiny", "hidden_size", ~uint64_t{0}},
      {"mamba_tiny", "num_hidden_layers", 0},
      {"mamba_tiny", "num_hidden_layers", 100'001},
      {"mamba_tiny", "vocab_size", 0},
      {"mamba_tiny", "vocab_size", int64_t{1} << 40},
      {"mamba_tiny", "state_size", 0},
      {"mamba_tiny", "conv_kernel", 0},
      {"mamba_tiny", "expand", 0},
      {"mamba_tiny", "expand", 1.5},
      {"mamba_tiny", "intermediate_size", 81},
      {"mamba_tiny", "time_step_rank", "big"},
      {"mamba_tiny", "time_step_rank", 0},
      {"mamba_tiny", "use_bias", 1},
      {"mamba_tiny", "tie_word_embeddings", "yes"},
      {"mamba_tiny", "layer_norm_epsilon", 0},
      {"mamba_tiny", "layer_norm_epsilon", -1e-5},
      {"mamba_tiny", "layer_norm_epsilon", "1e-5"},
      {"mamba_tiny", "hidden_act", "gelu"},
      {"mamba_tiny", "model_type", 5},
      {"jamba_moe", "num_hidden_layers", 60'000},
      {"jamba_moe", "rms_norm_eps", 2},
      {"jamba_moe", "num_experts", 0},
      {"jamba_moe", "num_experts", 1 << 20},
      {"jamba_moe", "num_experts_per_tok", 0},
      {"jamba_moe", "num_experts_per_tok", 5},
      {"jamba_moe", "expert_layer_period", 0},
      {"jamba_moe", "expert_layer_offset", 1},
      {"jamba_moe", "expert_layer_offset", -1},
      {"jamba_moe", "attn_layer_period", 0},
      {"jamba_moe", "attn_layer_offset", 100},
      {"jamba_moe", "intermediate_size", 0},
      {"jamba_moe", "mamba_d_conv", 100'000},
      {"jamba_moe", "hidden_act", "relu"},
  };
  for (const Bad& bad : cases) {
    SCOPED_TRACE(std::string(bad.base) + " " + bad.key + " = " + bad.value.dump());
    json config = config_of(bad.base);
    config[bad.key] = bad.value;
    const std::string message = message_of<InputError>([&] { parse(config); });
    EXPECT_TRUE(mentions(message, "dir/config.json"));
    EXPECT_TRUE(mentions(message, "\"" + std::string(bad.key) + "\""));
    EXPECT_TRUE(mentions(message, "expected"));
  }
}

TEST(HfFormats, MissingSizesAreRefusedByKey) {
  for (const char* key : {"model_type", "hidden_size", "num_hidden_layers", "vocab_size"}) {
    json config = config_of("jamba_moe");
    config.erase(key);
    const std::string message = message_of<InputError>([&] { parse(config); });
    EXPECT_TRUE(mentions(message, key) && mentions(message, "missing"));
  }
}

TEST(HfFormats, ModelsBeyondAnyMachineAreRefused) {
  json config = config_of("jamba_moe");
  for (const auto& [key, value] : {std::pair{"hidden_size", 1 << 20},
                                   {"intermediate_size", 1 << 20},
                                   {"num_experts", 1 << 16},
                                   {"num_hidden_layers", 90}}) {
    config[key] = value;
  }
  EXPECT_TRUE(mentions(message_of<InputError>([&] { parse(config); }), "parameters"));
  config["hidden_size"] = config["intermediate_size"] = 1;
  EXPECT_TRUE(mentions(message_of<InputError>([&] { parse(config); }), "tensors"));
}

TEST(HfFormats, BrokenTextsAreRefusedByFile) {
  const std::string good = config_of("mamba_tiny").dump();
  const std::vector<std::pair<std::string, const char*>> texts = {
      {"", "not valid JSON"},
      {"[]", "an array"},
      {"{}", "model_type"},
      {good.substr(0, good.size() / 2), "not valid JSON"},
      {good + good, "not valid JSON"},
      {"{\"model_type\":\"mamba\",\"model_type\":\"jamba\"}", "twice"},
      {"{\"model_type\":\"mamba\",\"layer_norm_epsilon\":1e999}", "too large"},
      {"{\"model_type\":\"ma\xff\"}", "not valid JSON"},
      {std::string(1'000'000, '['), "nested"},
  };
  for (const auto& [text, part] : texts) {
    const std::string message =
        message_of<InputError>([&text = text] { parse_hf_config(text, "dir/config.json"); });
    EXPECT_TRUE(mentions(message, "dir/config.json"));
    EXPECT_TRUE(mentions(message, part));
    EXPECT_LT(message.size(), 400u);
  }
  EXPECT_TRUE(mentions(message_of<InputError>([&] { read_hf_config("/nowhere"); }), "/nowhere/config.json"));
}

// Python's json writes Infinity and NaN as they are, transformers 5 as objects.
TEST(HfFormats, NumbersThatAreNotFinite) {
  const auto with = [](const std::string& key, const std::string& value) {
    json config = config_of("mamba_tiny");
    config[key] = "here";
    std::string text = config.dump(2);
    return text.replace(text.find("\"here\""), 6, value);
  };
  const ModelConfig plain = read_hf_config(folder("mamba_tiny"));
  for (const char* value : {"Infinity", "-Infinity", "NaN", "[0.0, Infinity]", R"({"__float__": "NaN"})"}) {
    const std::string text = with("time_step_limit", value);  // a key that natrix does not read
    const ModelConfig c = parse_hf_config(text, "config.json");
    EXPECT_EQ(hf_config_json(c, {}), hf_config_json(plain, {})) << value;
    // What is taken over is JSON, and reads back.
    const std::string written = hf_config_json(c, {}, text);
    EXPECT_TRUE(json::accept(written)) << written;
    EXPECT_EQ(hf_config_json(c, {}, written), written);
  }
  for (const char* key : {"layer_norm_epsilon", "hidden_size", "time_step_rank", "use_bias", "hidden_act"}) {
    for (const char* value : {"Infinity", "-Infinity", "NaN"}) {
      for (const std::string& form :
           {std::string(value), std::string(R"({"__float__": ")") + value + "\"}"}) {
        const std::string message =
            message_of<InputError>([&] { parse_hf_config(with(key, form), "dir/config.json"); });
        EXPECT_TRUE(mentions(message, "dir/config.json: key \"" + std::string(key) + "\" is " + value + ";"));
      }
    }
  }
}

TEST(HfFormats, EndOfDocumentTokensBesideNumbersThatAreNotFinite) {
  const test::ScratchDir dir;
  test::write_file(dir / "generation_config.json", R"({"temperature": Infinity, "eos_token_id": 3})");
  EXPECT_EQ(read_hf_eos_token_ids(dir.path()), std::vector<int64_t>{3});
  test::write_file(dir / "generation_config.json", R"({"eos_token_id": NaN})");
  EXPECT_TRUE(mentions(message_of<InputError>([&] { read_hf_eos_token_ids(dir.path()); }), "is NaN"));
}

// What transformers wrote comes back key by key; only these may differ.
TEST(HfFormats, WritesBackWhatItRead) {
  for (const char* name : {"mamba_tiny", "mamba_untied_bias_n8_k3", "mamba_bf16", "jamba_moe", "jamba_long",
                           "jamba_mixed_top1_sharded"}) {
    json before = config_of(name);
    const ModelConfig c = read_hf_config(folder(name));
    const json after = json::parse(hf_config_json(c, {}, before.dump()));
    before["dtype"] = "float32";
    if (before["model_type"] == "jamba") before["use_mamba_kernels"] = before["use_cache"] = false;
    EXPECT_EQ(json::diff(before, after).dump(), "[]") << name;
  }
}

TEST(HfFormats, WrittenConfigsReadBackEqual) {
  ModelConfig base;
  base.d_model = 48;
  base.vocab_size = 257;
  base.mlp.d_ff = base.moe.d_ff = 96;
  std::vector<std::pair<std::string, ModelConfig>> models;
  const auto add = [&](const char* family, auto&& change) {
    ModelConfig c = base;
    change(c);
    models.emplace_back(family, c);
  };
  add("mamba", [](auto& c) { c.pattern = "M", c.repeat = 5, c.mamba.inner_norms = false; });
  add("jamba", [](auto& c) { c.pattern = "ME", c.repeat = 4; });
  add("jamba", [](auto& c) { c.pattern = "MEM-", c.repeat = 3; });
  add("jamba", [](auto& c) { c.pattern = "M-M-MEM-"; });  // one MoE among four
  add("jamba", [](auto& c) { c.pattern = "M-", c.repeat = 3; });
  add("jamba", [](auto& c) { c.pattern = "ME", c.repeat = 150; });  // longer than the usual period
  add("natrix", [](auto& c) { c.pattern = "M", c.repeat = 2; });    // inner norms, but no MLP
  add("natrix", [](auto& c) { c.pattern = "MME", c.repeat = 2; });
  add("natrix", [](auto& c) { c.pattern = "M-M-MEME"; });  // no period says this
  add("natrix", [](auto& c) { c.pattern = "ME", c.mamba.inner_norms = false; });
  add("natrix", [](auto& c) { c.pattern = "MEM-", c.mlp.d_ff = 64; });
  add("natrix", [](auto& c) { c.pattern = "ME", c.moe.num_experts = c.moe.top_k = 1; });
  add("natrix", [](auto& c) { c.pattern = "ME", c.moe.renormalize = true; });
  add("natrix", [](auto& c) { c.pattern = "ME", c.moe.shared_experts = 1; });
  add("natrix", [](auto& c) { c.pattern = "ME", c.moe.bias_update_rate = 1e-3; });
  add("natrix",
      [](auto& c) { c.pattern = "ME", c.moe.router = Router::kSigmoid, c.moe.capacity_factor = 1.25; });
  add("natrix", [](auto& c) { c.pattern = "M-", c.mlp.activation = MlpActivation::kRelu2; });
  for (const auto& [family, config] : models) {
    SCOPED_TRACE(config.pattern + " × " + std::to_string(config.repeat));
    EXPECT_EQ(hf_family(config).model_type, family);
    const std::string text = hf_config_json(config, 256);
    const ModelConfig again = parse_hf_config(text, "config.json");
    EXPECT_EQ(hf_family(again).model_type, family);
    EXPECT_EQ(again.stack(), config.stack());
    EXPECT_EQ(hf_config_json(again, 256), text);
    if (family == "natrix") {
      EXPECT_EQ(fingerprint(again), fingerprint(config));
    }
  }
}

TEST(HfFormats, NatrixConfigsAreReadStrictly) {
  ModelConfig c;
  c.pattern = "MME";
  c.d_model = 16;
  c.vocab_size = 256;
  const json good = json::parse(hf_config_json(c, {}));
  const std::vector<std::pair<const char*, json>> cases = {
      {"/natrix/pattern", ""},          {"/natrix/pattern", 3},
      {"/natrix/repeat", 40'000},       {"/natrix/colour", 1},
      {"/natrix/mamba/d_conf", 4},      {"/natrix/moe/router", "hash"},
      {"/natrix/moe/top_k", 9},         {"/natrix/mlp/activation", "tanh"},
      {"/natrix/mamba", json::array()}, {"/natrix/moe/capacity_factor", 0}};
  for (const auto& [pointer, value] : cases) {
    json bad = good;
    bad[json::json_pointer(pointer)] = value;
    std::string key = std::string(pointer).substr(1);
    std::replace(key.begin(), key.end(), '/', '.');
    EXPECT_TRUE(mentions(message_of<InputError>([&] { parse(bad); }), "\"" + key + "\"")) << value;
  }
}

TEST(HfFormats, InheritsWhatItDoesNotInterpret) {
  const std::string parent =
      R"({"model_type":"jamba","bos_token_id":1,"eos_token_id":[2,3],"pad_token_id":0,"router_aux_loss_coef":0.5,)"
      R"("torch_dtype":"bfloat16","auto_map":{"AutoModel":"x.Y"},"hidden_size":7})";
  ModelConfig c = read_hf_config(folder("jamba_moe"));
  const json same = json::parse(hf_config_json(c, {}, parent));
  EXPECT_EQ(same["bos_token_id"], 1);
  EXPECT_EQ(same["eos_token_id"], json::array({2, 3}));
  EXPECT_EQ(same["router_aux_loss_coef"], 0.5);
  EXPECT_EQ(same["hidden_size"], 40);
  EXPECT_FALSE(same.contains("torch_dtype"));
  EXPECT_FALSE(same.contains("auto_map"));
  EXPECT_EQ(json::parse(hf_config_json(c, 9, parent))["eos_token_id"], 9);

  c.moe.renormalize = true;  // now a natrix model
  const json other = json::parse(hf_config_json(c, {}, parent));
  EXPECT_EQ(other["pad_token_id"], 0);
  EXPECT_FALSE(other.contains("router_aux_loss_coef"));

  const json none = json::parse(hf_config_json(c, {}));
  for (const char* id : {"bos_token_id", "pad_token_id", "eos_token_id"})
    EXPECT_TRUE(none.at(id).is_null()) << id;
}

TEST(HfFormats, EndOfDocumentTokens) {
  const test::ScratchDir dir;
  EXPECT_TRUE(read_hf_eos_token_ids(dir.path()).empty());
  test::write_file(dir / "config.json", R"({"eos_token_id": 2})");
  EXPECT_EQ(read_hf_eos_token_ids(dir.path()), std::vector<int64_t>{2});
  test::write_file(dir / "generation_config.json", R"({"eos_token_id": null})");
  EXPECT_EQ(read_hf_eos_token_ids(dir.path()), std::vector<int64_t>{2});
  test::write_file(dir / "generation_config.json", R"({"eos_token_id": [5, 6]})");
  EXPECT_EQ(read_hf_eos_token_ids(dir.path()), (std::vector<int64_t>{5, 6, 2}));
  test::write_file(dir / "generation_config.json", R"({"eos_token_id": [2, 5]})");
  EXPECT_EQ(read_hf_eos_token_ids(dir.path()), (std::vector<int64_t>{2, 5}));
  test::write_file(dir / "generation_config.json", R"({"eos_token_id": -1})");
  EXPECT_TRUE(mentions(message_of<InputError>([&] { read_hf_eos_token_ids(dir.path()); }), "eos_token_id"));
}

TEST(HfFormats, TensorNames) {
  const HfNames mamba = hf_names(read_hf_config(folder("mamba_tiny")));
  EXPECT_EQ(mamba.embedding, "backbone.embeddings.weight");
  EXPECT_EQ(mamba.norm(2), "backbone.layers.2.norm.weight");
  EXPECT_EQ(mamba.block(2), "backbone.layers.2.mixer.");
  EXPECT_EQ(mamba.final_norm, "backbone.norm_f.weight");
  const HfNames jamba = hf_names(read_hf_config(folder("jamba_moe")));
  EXPECT_EQ(jamba.embedding, "model.embed_tokens.weight");
  EXPECT_EQ(jamba.norm(2), "model.layers.1.input_layernorm.weight");
  EXPECT_EQ(jamba.block(2), "model.layers.1.mamba.");
  EXPECT_EQ(jamba.norm(5), "model.layers.2.pre_ff_layernorm.weight");
  EXPECT_EQ(jamba.block(5), "model.layers.2.feed_forward.");
  EXPECT_EQ(jamba.final_norm, "model.final_layernorm.weight");
  EXPECT_EQ(jamba.head, "lm_head.weight");
}

}  // namespace
}  // namespace natrix
