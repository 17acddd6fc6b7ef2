// Our own config.json holds every key of the model block, whatever keys there are.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "configs/schema/field.h"
#include "core/hf/hf_formats.h"
#include "kernels/base/check.h"
#include "tests/configs/schema/other_value.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using nlohmann::json;
using test::mentions;
using test::message_of;

const HfFamilies& only_natrix() {
  static const HfFamilies table = {natrix_family()};
  return table;
}

ModelConfig plain() {
  ModelConfig c;
  c.pattern = "MME";
  c.d_model = 16;
  c.vocab_size = 256;
  c.mamba.dt_rank = c.dt_rank();
  return c;
}

/// /natrix/moe/top_k for model.moe.top_k.
json::json_pointer place_of_key(const std::string& key) {
  std::string path = "/natrix" + key.substr(key.find('.'));
  std::replace(path.begin(), path.end(), '.', '/');
  return json::json_pointer(path);
}

TEST(NatrixFamily, EveryKeyOfTheModelSurvives) {
  ModelConfig c = plain();
  const json before = json::parse(hf_config_json(c, {}, {}, only_natrix()));
  for (const Field& field : model_fields_of(c)) {
    if (field.key == "model.init_from") continue;
    SCOPED_TRACE(field.key);
    const Scalar old = field.get();
    ASSERT_TRUE(test::set_other_value(field));
    const std::string text = hf_config_json(c, {}, {}, only_natrix());
    const json::json_pointer at = place_of_key(field.key);
    ASSERT_TRUE(before.contains(at) || !field.needed);  // absence says the default
    const json now = json::parse(text);
    EXPECT_NE(now, before);
    ModelConfig again = parse_hf_config(text, "config.json", only_natrix());
    for (const Field& read : model_fields_of(again)) {
      if (read.key == field.key) {
        EXPECT_EQ(read.get(), field.get());
      }
    }
    EXPECT_EQ(hf_config_json(again, {}, {}, only_natrix()), text);
    ASSERT_TRUE(field.set(old));
  }
}

TEST(NatrixFamily, EveryKeyIsReadStrictly) {
  ModelConfig c = plain();
  const json good = json::parse(hf_config_json(c, {}, {}, only_natrix()));
  for (const Field& field : model_fields_of(c)) {
    if (field.key == "model.init_from") continue;
    SCOPED_TRACE(field.key);
    const std::string key = "key \"natrix" + field.key.substr(field.key.find('.')) + "\"";
    json bad = good;
    bad[place_of_key(field.key)] = json::array({1});
    const std::string message =
        message_of<InputError>([&] { parse_hf_config(bad.dump(), "dir/config.json"); });
    EXPECT_TRUE(mentions(message, "dir/config.json: " + key + " is an array of 1; expected ")) << message;
    EXPECT_TRUE(mentions(message, field.expects)) << message;

    json less = good;
    const json::json_pointer at = place_of_key(field.key);
    if (less.contains(at)) less[at.parent_pointer()].erase(at.back());
    if (field.needed) {
      EXPECT_TRUE(mentions(message_of<InputError>([&] { parse_hf_config(less.dump(), "config.json"); }),
                           "config.json: " + key + " is missing"));
    } else {
      EXPECT_EQ(parse_hf_config(less.dump(), "config.json").stack(), c.stack());
    }
  }
}

TEST(NatrixFamily, WhatKeysDemandOfEachOtherIsChecked) {
  json config = json::parse(hf_config_json(plain(), {}, {}, only_natrix()));
  config["natrix"]["moe"]["top_k"] = 9;
  EXPECT_TRUE(mentions(message_of<InputError>([&] { parse_hf_config(config.dump(), "dir/config.json"); }),
                       "dir/config.json: key \"natrix.moe.top_k\": 9 of 8 experts"));
  config["natrix"]["moe"]["top_k"] = 2;
  config["natrix"]["vocab_size"] = nullptr;
  EXPECT_TRUE(mentions(message_of<InputError>([&] { parse_hf_config(config.dump(), "dir/config.json"); }),
                       "key \"natrix.vocab_size\" is null; expected an integer"));
}

}  // namespace
}  // namespace natrix
