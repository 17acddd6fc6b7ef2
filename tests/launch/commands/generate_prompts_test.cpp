// natrix generate --prompts: many prompts together, each as if alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

const Words kTexts = {"the ", "and the light was upon the face of the deep", "let", "in", "first day", ""};

std::string lines_of(const Words& texts) {
  std::string lines;
  for (const std::string& text : texts) lines += json{{"prompt", text}}.dump() + "\n";
  return lines;
}

Words on_run(Words args, const std::string& run = trained_run()) {
  args.insert(args.begin(), {"generate", run});
  return args;
}

class PromptsOn : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  static const std::string& run() {
    static const TinyRun tiny;
    static const bool trained =
        tiny.train("hybrid", {"model.pattern=M*E", "model.attention.num_heads=2", "train.steps=20"}).status ==
        0;
    EXPECT_TRUE(trained);
    static const std::string hybrid = tiny / "hybrid";
    return std::get<0>(GetParam()) == "hybrid" ? hybrid : trained_run();
  }
};

TEST_P(PromptsOn, EachGoesOnAsItWouldAlone) {
  const Words flags = {"-n",     "80", "--seed",     "3", "--temp",    "1",
                       "--stop", "e.", "--logprobs", "2", "--backend", std::get<1>(GetParam())};
  const auto with_flags = [&](Words args) {
    args.insert(args.end(), flags.begin(), flags.end());
    return natrix_json(on_run(args, run()), {.input = lines_of(kTexts)});
  };
  const json all = with_flags({"--prompts", "-"});
  ASSERT_EQ(all["results"].size(), kTexts.size());
  EXPECT_EQ(with_flags({"--prompts", "-", "--parallel", "2"})["results"], all["results"]);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    const json one = with_flags({"-p", kTexts[i]});
    const json& row = all["results"][i];
    EXPECT_EQ(row["index"], i);
    for (const char* key : {"text", "finish_reason", "stop_reason", "logprobs", "generated"})
      EXPECT_EQ(row[key], one[key]) << kTexts[i] << " " << key;  // log-probabilities in all their digits
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PromptsOn,
                         ::testing::Combine(::testing::Values("mamba_moe", "hybrid"),
                                            ::testing::Values("cpu", "reference")),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param);
                         });

TEST(Prompts, ALineHasItsOwnIdLengthAndSeed) {
  const ScratchDir scratch;
  write_file(scratch / "prompts.jsonl",
             "{\"prompt\": \"the \", \"id\": \"a\", \"max_tokens\": 5}\n"
             "\n"
             "{\"tokens\": [116, 104, 101, 32], \"id\": 7, \"seed\": 9}\n"
             "{\"prompt\": \"the \", \"seed\": 9}\n");
  const Outcome r =
      natrix_program(on_run({"--prompts", scratch / "prompts.jsonl", "-n", "20", "--temp", "1", "-q"}));
  ASSERT_EQ(r.status, 0) << r.err;
  std::vector<json> rows;
  std::istringstream lines(r.out);
  for (std::string line; std::getline(lines, line);) rows.push_back(json::parse(line));
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["id"], "a");
  EXPECT_EQ(rows[0]["text"].get<std::string>().size(), 5u);
  EXPECT_EQ(rows[1]["id"], 7);
  EXPECT_EQ(rows[1]["prompt_tokens"], 4);
  EXPECT_FALSE(rows[2].contains("id"));
  EXPECT_EQ(rows[1]["text"], rows[2]["text"]);
  const std::string text = rows[1]["text"];
  EXPECT_EQ(rows[1]["tokens"], json(std::vector<int>(text.begin(), text.end())));
  EXPECT_EQ(rows[2]["text"],
            natrix_json(on_run({"-p", "the ", "-n", "20", "--temp", "1", "--seed", "9"}))["text"]);
}

TEST(Prompts, AllGoOnFromOneState) {
  const ScratchDir scratch;
  natrix_json(on_run({"-p", "the deep was ", "-n", "0", "--state-out", scratch / "state"}));
  const Words rest = {"without ", "form", ""};
  const json all = natrix_json(on_run({"--prompts", "-", "-n", "9", "--state-in", scratch / "state"}),
                               {.input = lines_of(rest)});
  for (size_t i = 0; i < rest.size(); ++i) {
    const json one = natrix_json(on_run({"-p", "the deep was " + rest[i], "-n", "9"}));
    EXPECT_EQ(all["results"][i]["text"], one["text"]) << rest[i];
  }
}

TEST(Prompts, ABadFileIsRefusedWithItsLine) {
  for (const auto& [text, message] :
       {std::pair("{\"prompt\": \"a\"}\n{\"prompt\": 5}\n", "-:2: key \"prompt\" is 5; expected a string"),
        std::pair("{\"prompt\": \"a\", \"tokens\": [1]}\n", "-:1: expected one of \"prompt\" and \"tokens\""),
        std::pair("{}\n", "-:1: expected one of"), std::pair("{\"prompt\": \"a\"\n", "-:1"),
        std::pair("[1]\n", "-:1: expected an object"),
        std::pair("{\"tokens\": [1, 257]}\n", "each from 0 to 256"),
        std::pair("{\"tokens\": []}\n", "at least one token"),
        std::pair("{\"prompt\": \"a\", \"temp\": 1}\n", "\"temp\" is unknown"),
        std::pair("\n \n", "holds no prompt")}) {
    const Outcome r = natrix_program(on_run({"--prompts", "-"}), {.input = text});
    EXPECT_EQ(r.status, 2) << text;
    EXPECT_EQ(r.out, "");
    EXPECT_THAT(r.err, HasSubstr(message));
  }
  EXPECT_THAT(natrix_program(on_run({"--prompts", "/nowhere"})).err, HasSubstr("cannot be opened"));
  EXPECT_EQ(natrix_program(on_run({"--prompts", "-", "--state-out", "x"})).status, 2);
}

}  // namespace
}  // namespace natrix::test
