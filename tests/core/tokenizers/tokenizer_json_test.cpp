// tokenizer.json against the ids that Hugging Face's `tokenizers` gives (tests/interop/make_tokenizers.py), in pieces,
// and damaged.
#include "core/tokenizers/tokenizer_json.h"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/tokenizers/open_tokenizer.h"
#include "core/tokenizers/stream_encoder.h"
#include "kernels/base/check.h"
#include "tests/files.h"
#include "tests/kernels/cases.h"

namespace natrix::test {
namespace {

using nlohmann::json;

const std::string kData = std::string(NATRIX_TEST_DATA) + "/tokenizers/";

class TokenizerJson : public ::testing::TestWithParam<const char*> {
 protected:
  std::string path() const { return kData + GetParam() + ".json"; }
  json cases() const { return json::parse(std::ifstream(kData + GetParam() + "_cases.json")); }
};

INSTANTIATE_TEST_SUITE_P(Families, TokenizerJson,
                         ::testing::Values("gpt2", "gpt2_prefix_space", "gpt_neox", "qwen2", "llama3",
                                           "tekken", "starcoder", "falcon", "nfkc", "llama2", "metaspace",
                                           "llama3_small"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(TokenizerJson, GivesTheIdsOfTheLibrary) {
  const auto tokenizer = read_tokenizer_json(path());
  for (const json& c : cases())
    EXPECT_EQ(json(tokenizer->encode(c["text"].get<std::string>())), c["ids"]) << c["text"];
}

/// Added tokens apart, which the library spells as it normalises them.
TEST_P(TokenizerJson, GivesTheTextOfTheLibrary) {
  const auto tokenizer = read_tokenizer_json(path());
  int same = 0, all = 0;
  for (const json& c : cases()) {
    const std::string text = c["text"].get<std::string>();
    if (text.find("~~~~") != std::string::npos || std::string(GetParam()) == "metaspace") continue;
    ++all;
    same += tokenizer->spell(c["ids"].get<std::vector<int64_t>>()) == c["decoded"].get<std::string>();
  }
  EXPECT_EQ(same, all);
}

TEST_P(TokenizerJson, StreamsTheTextThatItDecodes) {
  const auto tokenizer = read_tokenizer_json(path());
  for (const json& c : cases()) {
    const auto ids = c["ids"].get<std::vector<int64_t>>();
    StreamDecoder decoder(*tokenizer);
    std::string text;
    for (const int64_t id : ids) text += decoder.push(id);
    EXPECT_EQ(text + decoder.finish(), tokenizer->decode(ids));
  }
}

TEST_P(TokenizerJson, PiecesOfATextGiveTheIdsOfTheWhole) {
  const auto tokenizer = read_tokenizer_json(path());
  Random random;
  std::string all;
  for (const json& c : cases()) all += c["text"].get<std::string>() + " and ";
  for (int i = 0; i < 20; ++i) {
    StreamEncoder encoder(*tokenizer);
    std::vector<int64_t> ids;
    const auto add = [&](const std::vector<int64_t>& more) {
      ids.insert(ids.end(), more.begin(), more.end());
    };
    for (size_t at = 0; at < all.size();) {
      const auto length = static_cast<size_t>(random.integer(1, 60));
      add(encoder.push(all.substr(at, length)));
      at += length;
    }
    add(encoder.finish());
    ASSERT_EQ(ids, tokenizer->encode(all)) << random.seed();
  }
}

/// Other bytes than those of UTF-8 come back from byte-level tokenizers.
TEST_P(TokenizerJson, AnyBytesCanBeEncoded) {
  const auto tokenizer = read_tokenizer_json(path());
  Random random;
  const bool exact = std::string(GetParam()) == "gpt2" || std::string(GetParam()) == "qwen2";
  for (int i = 0; i < 50; ++i) {
    std::string text(static_cast<size_t>(random.integer(0, 200)), '\0');
    for (char& c : text) c = static_cast<char>(random.integer(0, i % 2 == 0 ? 255 : 127));
    const std::vector<int64_t> ids = tokenizer->encode(text);
    if (exact && i % 2 == 1) {
      EXPECT_EQ(tokenizer->spell(ids), text) << random.seed();
    }
  }
}

TEST(TokenizerJsonFile, LongPiecesTakeNoLongerThanTheirLength) {
  const auto tokenizer = read_tokenizer_json(kData + "gpt2.json");
  const std::string word(300'000, 'a');
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(word)), word);
}

TEST(TokenizerJsonFile, ATemplateSurroundsATextThatAsksForIt) {
  const auto tokenizer = read_tokenizer_json(kData + "llama3.json");
  EXPECT_EQ(tokenizer->special_before(), std::vector<int64_t>{*tokenizer->token_id("<|endoftext|>")});
  EXPECT_TRUE(tokenizer->special_after().empty());
}

TEST(TokenizerJsonFile, TheEndIsTheOneThatTheFilesBesideItName) {
  const ScratchDir dir;
  write_file(dir / "tokenizer.json", read_file(kData + "llama3.json"));
  const auto id = [&](const char* token) { return open_tokenizer(dir.path())->token_id(token).value_or(-9); };
  EXPECT_EQ(open_tokenizer(dir.path())->eod(), id("<|endoftext|>"));
  write_file(dir / "tokenizer_config.json", R"({"eos_token": {"content": "<|im_end|>"}})");
  EXPECT_EQ(open_tokenizer(dir.path())->eod(), id("<|im_end|>"));
  EXPECT_EQ(open_tokenizer(dir.path())->decode(std::vector<int64_t>{id("<|im_end|>")}), "");
}

struct Damage {
  const char* name;
  std::function<void(json&)> change;
  std::vector<std::string> words;
};

TEST(TokenizerJsonFile, WhatIsNotKnownIsRefusedByName) {
  const json whole = json::parse(std::ifstream(kData + "llama3.json"));
  const std::vector<Damage> damages = {
      {"model", [](json& j) { j["model"]["type"] = "WordPiece"; }, {"model of type", "WordPiece"}},
      {"no_model", [](json& j) { j.erase("model"); }, {"model"}},
      {"dropout", [](json& j) { j["model"]["dropout"] = 0.1; }, {"model.dropout"}},
      {"vocab", [](json& j) { j["model"]["vocab"] = json::array({"a"}); }, {"model.vocab"}},
      {"id", [](json& j) { j["model"]["vocab"]["a"] = -1; }, {"model.vocab", "\"a\""}},
      {"huge_id", [](json& j) { j["model"]["vocab"]["a"] = int64_t{1} << 40; }, {"model.vocab", "\"a\""}},
      {"same_id", [](json& j) { j["model"]["vocab"]["zzzz"] = j["model"]["vocab"]["a"]; }, {"the same id"}},
      {"merge",
       [](json& j) {
         j["model"]["merges"].push_back({"zz", "yy"});
       },
       {"merge", "\"zz\""}},
      {"merge_shape", [](json& j) { j["model"]["merges"][0] = "abc"; }, {"model.merges[0]"}},
      {"merge_type", [](json& j) { j["model"]["merges"] = 3; }, {"model.merges"}},
      {"normalizer",
       [](json& j) {
         j["normalizer"] = {{"type", "Precompiled"}};
       },
       {"normalizer", "Precompiled"}},
      {"pretokenizer",
       [](json& j) {
         j["pre_tokenizer"] = {{"type", "UnicodeScripts"}};
       },
       {"pre_tokenizer", "UnicodeScripts"}},
      {"pattern",
       [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a"; },
       {"regular expression", "(a"}},
      {"behavior",
       [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Cut"; },
       {"behavior", "Cut"}},
      {"decoder",
       [](json& j) {
         j["decoder"] = {{"type", "CTC"}};
       },
       {"decoder", "CTC"}},
      {"processor",
       [](json& j) {
         j["post_processor"] = {{"type", "Magic"}};
       },
       {"post_processor", "Magic"}},
      {"added", [](json& j) { j["added_tokens"][0]["id"] = "x"; }, {"added_tokens[0].id"}},
      {"unknown", [](json& j) { j["model"]["unk_token"] = "<nothing>"; }, {"unk_token"}},
  };
  for (const Damage& d : damages) {
    const ScratchDir dir;
    json damaged = whole;
    d.change(damaged);
    write_file(dir / "tokenizer.json", damaged.dump());
    try {
      open_tokenizer(dir.path());
      ADD_FAILURE() << d.name;
    } catch (const InputError& e) {
      for (const std::string& word : d.words)
        EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace natrix::test
