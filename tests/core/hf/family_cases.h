// Configurations of Hugging Face families as transformers wrote them (tests/data/hf), and what every family
// must do with its own.
#pragma once

#include <algorithm>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/hf/hf_formats.h"
#include "kernels/base/check.h"
#include "tests/core/io_helpers.h"

namespace natrix::test {

inline nlohmann::json hf_config(const std::string& name) {
  return nlohmann::json::parse(read_file(NATRIX_TEST_DATA "/hf/" + name + "/config.json"));
}

inline ModelConfig parse_hf(const nlohmann::json& config) {
  return parse_hf_config(config.dump(), "dir/config.json");
}

/// The config.json comes back key by key, is written by its own family, and reads back. `may_differ`: keys.
inline void expect_comes_back(const std::string& name, const std::vector<std::string>& may_differ = {}) {
  SCOPED_TRACE(name);
  nlohmann::json before = hf_config(name);
  const ModelConfig c = parse_hf(before);
  EXPECT_EQ(hf_family(c).model_type, before["model_type"].get<std::string>());
  const std::string text = hf_config_json(c, {}, before.dump());
  nlohmann::json after = nlohmann::json::parse(text);
  for (const std::string& key : may_differ) {
    before.erase(key);
    after.erase(key);
  }
  EXPECT_EQ(nlohmann::json::diff(before, after).dump(), "[]");
  const std::string fresh = hf_config_json(c, {});  // without a parent to take keys from
  EXPECT_EQ(hf_config_json(parse_hf_config(fresh, "config.json"), {}), fresh);
  EXPECT_EQ(hf_config_json(parse_hf_config(text, "config.json"), {}, text), text);
}

struct Refusal {
  std::string key;
  nlohmann::json value;
  std::string named = {};  // what the message names, if not the key
};

/// Each value by itself ends the reading with a message that names the file and the key.
inline void expect_refused(const nlohmann::json& base, const std::vector<Refusal>& refusals) {
  for (const Refusal& bad : refusals) {
    SCOPED_TRACE(bad.key + " = " + bad.value.dump());
    nlohmann::json config = base;
    config[nlohmann::json::json_pointer("/" + bad.key)] = bad.value;
    const std::string message = message_of<InputError>([&] { parse_hf(config); });
    EXPECT_TRUE(mentions(message, "dir/config.json")) << message;
    std::string key = bad.named.empty() ? bad.key : bad.named;
    std::replace(key.begin(), key.end(), '/', '.');
    EXPECT_TRUE(mentions(message, "\"" + key + "\"")) << message;
    EXPECT_TRUE(mentions(message, "expected") || mentions(message, "is missing")) << message;
  }
}

/// These keys must be there.
inline void expect_needed(const nlohmann::json& base, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    nlohmann::json config = base;
    config.erase(key);
    const std::string message = message_of<InputError>([&] { parse_hf(config); });
    EXPECT_TRUE(mentions(message, "dir/config.json") && mentions(message, "\"" + key + "\" is missing"))
        << key << ": " << message;
  }
}

/// The same model in the spelling of transformers 4 and of the hub.
inline nlohmann::json in_version_4(nlohmann::json config) {
  if (config.contains("rope_parameters")) {
    const nlohmann::json rope = config["rope_parameters"];
    config.erase("rope_parameters");
    config["rope_theta"] = rope["rope_theta"];
    config["rope_scaling"] = nullptr;
    if (rope.contains("partial_rotary_factor"))
      config["partial_rotary_factor"] = rope["partial_rotary_factor"];
  }
  config["torch_dtype"] = config["dtype"];
  config.erase("dtype");
  return config;
}

}  // namespace natrix::test
