// Which tokenizer a model's directory has: bytes by content, none, or one that natrix cannot read.
#include "core/text/own_tokenizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/tokenizers/byte_tokenizer_json.h"
#include "kernels/base/check.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using nlohmann::json;
using test::mentions;
using test::message_of;
using test::ScratchDir;
using Kind = OwnTokenizer::Kind;

constexpr const char* kJson = "tokenizer.json";

TokenizerJson described(
    int64_t vocabulary, const std::function<void(json&)>& change = [](json&) {}) {
  json tokenizer = json::parse(byte_tokenizer_json(vocabulary));
  change(tokenizer);
  return describe_tokenizer_json(tokenizer);
}

TEST(TokenizerJson, OursIsBytes) {
  EXPECT_TRUE(described(257).bytes);
  EXPECT_TRUE(described(257).has_end);
  EXPECT_TRUE(described(256).bytes);
  EXPECT_FALSE(described(256).has_end);
}

TEST(TokenizerJson, WhatDoesTheSameIsBytes) {
  const std::vector<std::function<void(json&)>> same = {
      [](json& t) { t["version"] = "2.0"; },
      [](json& t) { t["added_tokens"][0]["content"] = "</s>"; },
      [](json& t) { t["model"]["vocab"]["</s>"] = 256; },  // the end among the entries
      [](json& t) { t["added_tokens"] = json::array(), t["model"]["vocab"]["<|endoftext|>"] = 256; },
      [](json& t) { t["model"].erase("type"); },
      [](json& t) { t["model"].erase("merges"); },
      [](json& t) { t["pre_tokenizer"]["use_regex"] = true; },
      [](json& t) { t["pre_tokenizer"]["trim_offsets"] = false; },
      [](json& t) { t["post_processor"] = t["decoder"]; },
      [](json& t) { t["model"]["end_of_word_suffix"] = ""; },
      [](json& t) { t.erase("normalizer"), t.erase("truncation"); },
  };
  for (size_t i = 0; i < same.size(); ++i) {
    EXPECT_TRUE(described(257, same[i]).bytes) << i;
    EXPECT_TRUE(described(257, same[i]).has_end) << i;
  }
}

TEST(TokenizerJson, AnythingElseIsNot) {
  struct Other {
    std::function<void(json&)> change;
    const char* what;
  };
  const Other others[] = {
      {[](json& t) {
         t["model"]["merges"] = {"t h", "th e"};
       },
       "BPE\" tokenizer of 256 entries with 2 merges"},
      {[](json& t) { t["model"]["type"] = "WordPiece"; }, "\"WordPiece\" tokenizer of 256 entries"},
      {[](json& t) {
         t["model"] = {{"type", "Unigram"}, {"vocab", json::array({json::array({"a", -1.5})})}};
       },
       "\"Unigram\" tokenizer of 1 entries"},
      {[](json& t) { std::swap(t["model"]["vocab"]["a"], t["model"]["vocab"]["b"]); },
       "byte 97 has the id 98"},
      {[](json& t) { t["model"]["vocab"].erase("!"); }, "without one for the byte 33"},
      {[](json& t) { t["model"]["vocab"]["Ġ"] = "32"; }, "byte 32"},
      {[](json& t) { t["model"]["vocab"]["the"] = 257; }, "\"the\" besides the bytes"},
      {[](json& t) { t["model"]["vocab"]["the"] = 97; }, "\"the\" besides the bytes"},
      {[](json& t) {
         t["added_tokens"].push_back({{"id", 257}, {"content", "<pad>"}});
       },
       "\"<pad>\""},
      {[](json& t) { t["added_tokens"][0]["id"] = 0; }, "<|endoftext|>"},
      {[](json& t) {
         t["normalizer"] = {{"type", "NFC"}};
       },
       "normalizer"},
      {[](json& t) { t["pre_tokenizer"] = nullptr; }, "pre_tokenizer"},
      {[](json& t) { t["pre_tokenizer"]["add_prefix_space"] = true; }, "pre_tokenizer"},
      {[](json& t) {
         t["pre_tokenizer"] = {{"type", "Whitespace"}};
       },
       "pre_tokenizer"},
      {[](json& t) { t["decoder"] = nullptr; }, "decoder"},
      {[](json& t) {
         t["post_processor"] = {{"type", "TemplateProcessing"}};
       },
       "post_processor"},
      {[](json& t) { t["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix"},
      {[](json& t) { t = json::array(); }, "of 0 entries"},
      {[](json& t) { t = json::object(); }, "of 0 entries"},
      {[](json& t) { t["model"] = 5; }, "of 0 entries"},
      {[](json& t) {
         t["model"]["vocab"] = json::array({1, 2});
       },
       "of 2 entries"},
  };
  for (const Other& other : others) {
    const TokenizerJson found = described(257, other.change);
    EXPECT_FALSE(found.bytes) << other.what;
    EXPECT_TRUE(mentions(found.what, other.what));
  }
}

TEST(OwnTokenizer, TheDirectoryDecides) {
  const ScratchDir dir;
  const auto make = [&](int64_t vocabulary) {
    return make_own_tokenizer(tokenizer_of(dir.path()), vocabulary, "DO");
  };
  EXPECT_EQ(tokenizer_of(dir.path()).kind, Kind::kNone);
  EXPECT_EQ(make(256)->eod(), kNoEod);
  EXPECT_EQ(make(257)->eod(), 256);
  for (const int64_t other : {255, 258, 320, 50280}) {
    const std::string message = message_of<InputError>([&] { make(other); });
    for (const std::string& part :
         {dir.path(), std::to_string(other), std::string("256 or 257"), std::string(": DO")})
      EXPECT_TRUE(mentions(message, part));
  }

  test::write_file(dir / kJson, byte_tokenizer_json(257));
  EXPECT_EQ(tokenizer_of(dir.path()).kind, Kind::kBytes);
  for (const int64_t vocabulary : {257, 264, 320}) {
    EXPECT_EQ(make(vocabulary)->eod(), 256);
    EXPECT_EQ(make(vocabulary)->vocab_size(), 257);
  }
  EXPECT_EQ(make(256)->eod(), kNoEod) << "a model without that id";
  EXPECT_TRUE(mentions(message_of<InputError>([&] { make(100); }), "100"));

  test::write_file(dir / kJson, byte_tokenizer_json(256));  // the ids from 256 on are padding
  EXPECT_EQ(make(320)->eod(), kNoEod);
  EXPECT_EQ(make(320)->vocab_size(), 256);
}

TEST(OwnTokenizer, TheEndIsThatOfTheConfiguration) {
  const ScratchDir dir;
  test::write_file(dir / kJson, byte_tokenizer_json(257));
  for (const auto& [eos, kind] : {std::pair{"256", Kind::kBytes},
                                  {"null", Kind::kBytes},
                                  {"[0, 256]", Kind::kBytes},
                                  {"0", Kind::kJson},
                                  {"[1, 2]", Kind::kJson}}) {
    test::write_file(dir / "config.json", "{\"eos_token_id\": " + std::string(eos) + "}");
    EXPECT_EQ(tokenizer_of(dir.path()).kind, kind) << eos;
  }
}

TEST(OwnTokenizer, OtherKindsAreNamed) {
  for (const char* name : {"tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "spiece.model",
                           "tokenizer_config.json", "tekken.json"}) {
    const ScratchDir dir;
    test::write_file(dir / name, "x");
    EXPECT_EQ(tokenizer_of(dir.path()).kind, Kind::kOther) << name;
    EXPECT_FALSE(may_read_text(tokenizer_of(dir.path()), 257));
    const std::string message =
        message_of<InputError>([&] { make_own_tokenizer(tokenizer_of(dir.path()), 257, "DO"); });
    EXPECT_TRUE(mentions(message, dir / name) && mentions(message, "tokenizer.json") &&
                mentions(message, ": DO"));
    test::write_file(dir / kJson, byte_tokenizer_json(257));  // decides where it is there
    EXPECT_EQ(tokenizer_of(dir.path()).kind, Kind::kBytes) << name;
  }
}

TEST(OwnTokenizer, BrokenFilesAreRefusedByName) {
  const ScratchDir dir;
  for (const auto& [text, part] :
       {std::pair{"version https://git-lfs.github.com/spec/v1\noid x\n", "git lfs pull"},
        {"", "empty"},
        {"{\"model\": ", "line 1"},
        {"<html>", "HTML"}}) {
    test::write_file(dir / kJson, text);
    const std::string message = message_of<InputError>([&] { tokenizer_of(dir.path()); });
    EXPECT_TRUE(mentions(message, dir / kJson) && mentions(message, part));
  }
}

TEST(OwnTokenizer, FilesAreTakenAlong) {
  const ScratchDir dir;
  EXPECT_TRUE(tokenizer_files(dir.path()).empty());
  const std::map<std::string, std::string> files = {{"vocab.json", "{}"},
                                                    {"merges.txt", "a b"},
                                                    {"special_tokens_map.json", "{ }"},
                                                    {"tokenizer.model", std::string("\0x", 2)}};
  for (const auto& [name, text] : files) test::write_file(dir / name, text);
  test::write_file(dir / "config.json", "{}");
  test::write_file(dir / "README.md", "x");
  EXPECT_EQ(tokenizer_files(dir.path()), files);
}

}  // namespace
}  // namespace natrix
