// natrix generate: what ends a text, biases of tokens, and log-probabilities.
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "core/files/safetensors.h"
#include "kernels/base/buffer.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

const std::string kDeep = "the deep was without form. let there be ";

Words with_prompt(Words args) {
  args.insert(args.begin(), {"generate", trained_run(), "-p", kDeep, "--temp", "0", "-n", "40"});
  return args;
}

json continued(const Words& args) {
  return natrix_json(with_prompt(args));
}

std::string whole_text() {
  static const std::string text = continued({})["text"].get<std::string>();
  return text;
}

TEST(GenerateStop, ATextEndsBeforeTheStopString) {
  const std::string whole = whole_text();
  const std::string stop = whole.substr(17, 4);
  const size_t at = whole.find(stop);
  const json r = continued({"--stop", stop, "--stop", "not in it"});
  EXPECT_EQ(r["text"], whole.substr(0, at));
  EXPECT_EQ(r["finish_reason"], "stop");
  EXPECT_EQ(r["stop_reason"], stop);
  EXPECT_EQ(r["generated"], at + 4);
  EXPECT_EQ(r["position"], kDeep.size() + at + 4);
  const Outcome shown = natrix_program(with_prompt({"--reverse-prompt", stop, "-q"}));
  EXPECT_EQ(shown.out, whole.substr(0, at) + "\n");
}

TEST(GenerateStop, WhatOnlyBeginsAStopStringIsShownInTheEnd) {
  const std::string whole = whole_text();
  const json r = continued({"--stop", whole.substr(36) + "and more"});
  EXPECT_EQ(r["text"], whole);
  EXPECT_EQ(r["finish_reason"], "length");
  EXPECT_EQ(r["stop_reason"], nullptr);
}

TEST(GenerateStop, IdsOfTheUserEndATextToo) {
  const std::string whole = whole_text();
  const size_t at = whole.find_first_of(".e");
  ASSERT_NE(at, std::string::npos);
  const json r =
      continued({"--stop-id", std::to_string('.'), "--stop-id", std::to_string('e'), "--ignore-eos"});
  EXPECT_EQ(r["text"], whole.substr(0, at));
  EXPECT_EQ(r["finish_reason"], "stop");
  EXPECT_EQ(r["stop_reason"], int{whole[at]});
  EXPECT_EQ(r["generated"], at);
}

TEST(GenerateStop, BadEndingsAreRefused) {
  for (const auto& [args, message] :
       {std::pair(Words{"--stop", ""}, "a stop string is empty"),
        std::pair(Words{"--stop-id", "257"}, "--stop-id 257: the model's vocabulary has 257 entries"),
        std::pair(Words{"--stop-id", "-1"}, "--stop-id"),
        std::pair(Words{"--logit-bias", "257+1"}, "token 257 is outside of the model's vocabulary"),
        std::pair(Words{"--logit-bias", "12"}, "expected TOKEN+BIAS"),
        std::pair(Words{"--logit-bias", "12+inf"}, "expected TOKEN+BIAS"),
        std::pair(Words{"--logit-bias", "12--1"}, "expected TOKEN+BIAS"),
        std::pair(Words{"--logit-bias", "12+1x"}, "expected TOKEN+BIAS"),
        std::pair(Words{"--system", "Be brief."}, "give --chat"), std::pair(Words{"--chat"}, "give one of"),
        std::pair(Words{"--prompts", "x.jsonl"}, "give one of")}) {
    const Outcome r = natrix_program(with_prompt(args));
    EXPECT_EQ(r.status, 2) << args[0];
    EXPECT_EQ(r.out, "");
    EXPECT_THAT(r.err, HasSubstr(message));
  }
}

TEST(GenerateBias, MovesAndBansTokens) {
  const std::string whole = whole_text();
  const std::string first = std::to_string(int{whole[0]});
  EXPECT_NE(continued({"-l", first + "-inf"})["text"].get<std::string>()[0], whole[0]);
  EXPECT_EQ(continued({"-l", first + "-1.5", "-l", first + "+1.5"})["text"], whole);
  EXPECT_EQ(continued({"--logit-bias", "120+1e6"})["text"], std::string(40, 'x'));
}

// ---- log-probabilities

/// The logits that natrix score gives for the prompt and a continuation, [T, V].
Buffer scored(const std::string& text, const Words& flags) {
  const ScratchDir scratch;
  std::vector<int64_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  write_safetensors(scratch / "in", {{"tokens", View(ids.data(), Dtype::kI64, {1, std::ssize(ids)})}});
  Words args = {"score", trained_run(), "--tokens", scratch / "in", "--out", scratch / "out"};
  args.insert(args.end(), flags.begin(), flags.end());
  natrix_json(args);
  const Safetensors file(scratch / "out");
  const View stored = file.at("logits");
  Buffer logits(Dtype::kF32, {std::ssize(ids), stored.cols()});
  copy(stored.reshaped(logits.view().shape), logits.view());
  return logits;
}

TEST(GenerateLogprobs, AreThoseOfTheScoredText) {
  for (const Words& backend : {Words{"--backend", "cpu"}, Words{"--backend", "reference"}}) {
    Words args = {"generate", trained_run(), "-p", kDeep,        "-n", "40",           "--temp",
                  "1.5",      "--seed",      "4",  "--logprobs", "3",  "--logit-bias", "101+1.5"};
    args.insert(args.end(), backend.begin(), backend.end());
    const json r = natrix_json(args);
    const std::string text = r["text"];
    ASSERT_EQ(r["logprobs"].size(), text.size());
    const Buffer logits = scored(kDeep + text, backend);
    const int64_t V = logits.view().cols();
    for (size_t i = 0; i < text.size(); ++i) {
      const float* row = logits.view().row<float>(static_cast<int64_t>(kDeep.size() + i) - 1);
      double sum = 0;
      for (int64_t v = 0; v < V; ++v) sum += std::exp(static_cast<double>(row[v]));
      const json& token = r["logprobs"][i];
      EXPECT_EQ(token["id"], int{text[i]});
      EXPECT_EQ(token["text"], std::string(1, text[i]));
      EXPECT_NEAR(token["logprob"],
                  static_cast<double>(row[static_cast<unsigned char>(text[i])]) - std::log(sum), 1e-5);
      ASSERT_EQ(token["top"].size(), 3u);
      double before = 0;
      for (const json& top : token["top"]) {
        EXPECT_NEAR(top["logprob"], static_cast<double>(row[top["id"].get<int>()]) - std::log(sum), 1e-5);
        EXPECT_LE(top["logprob"], before);
        before = top["logprob"];
      }
      EXPECT_EQ(token["top"][0]["id"], std::max_element(row, row + V) - row);
    }
  }
}

TEST(GenerateLogprobs, APartOfACharacterIsGivenAsBytes) {
  const json r = natrix_json({"generate", trained_run(), "-p", kDeep, "-n", "2", "--temp", "0", "--logprobs",
                              "0", "--logit-bias", "195+1e5"});
  const json& token = r["logprobs"][0];
  EXPECT_EQ(token["id"], 195);
  EXPECT_EQ(token["bytes"], json({195}));
  EXPECT_EQ(token["text"], "\xEF\xBF\xBD");
  EXPECT_EQ(token["top"], json::array());
}

TEST(GenerateLogprobs, InTextAreALineForEachToken) {
  const Outcome r = natrix_program(with_prompt({"--n-probs", "1", "-q"}));
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 40);
  const int first = whole_text()[0];
  EXPECT_THAT(r.out, ::testing::StartsWith(std::to_string(first) + " -"));
}

}  // namespace
}  // namespace natrix::test
