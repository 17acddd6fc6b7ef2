// natrix tokenize and detokenize; and a run on text with a tokenizer of its own, to the end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/tokenizers/tokenizer.h"
#include "tests/files.h"
#include "tests/launch/program.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const std::string kTokenizer = std::string(NATRIX_TEST_DATA) + "/tokenizers/llama3.json";

class Tokenize : public ::testing::Test {
 protected:
  std::string run(std::vector<std::string> args) {
    args.insert(args.begin() + 1, {"--tokenizer", kTokenizer});
    const Outcome outcome = natrix_program(args);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.out;
  }
  ScratchDir scratch_;
  std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer(kTokenizer);
};

TEST_F(Tokenize, TextFilesAndJsonLinesGiveTheirIds) {
  const std::string text = "light upon 12345\n\n  naïve";
  const json ids = tokenizer_->encode(text);
  EXPECT_EQ(json::parse(run({"tokenize", "--text", text, "--json"})), (json{{"ids", ids}}));
  write_file(scratch_ / "text", text);
  EXPECT_EQ(json::parse(run({"tokenize", "--file", scratch_ / "text", "--json"}))["ids"], ids);
  write_file(scratch_ / "lines",
             json{{"text", "a"}, {"body", text}}.dump() + "\n\n" + json{{"body", ""}}.dump() + "\n");
  const std::string lines = run({"tokenize", "--jsonl", scratch_ / "lines", "--key", "body", "--json"});
  EXPECT_EQ(lines, R"({"ids":)" + ids.dump() + "}\n{\"ids\":[]}\n");
}

TEST_F(Tokenize, DetokenizeIsTheInverse) {
  const std::string text = "<|endoftext|>light  upon\tdeep é";
  const std::string ids = run({"tokenize", "--text", text, "--json"});
  write_file(scratch_ / "ids", ids);
  EXPECT_EQ(run({"detokenize", "--jsonl", scratch_ / "ids"}), text);
  std::string list = json::parse(ids)["ids"].dump();
  EXPECT_EQ(run({"detokenize", "--ids", list.substr(1, list.size() - 2)}), text + "\n");
  EXPECT_EQ(json::parse(run({"detokenize", "--jsonl", scratch_ / "ids", "--json"})), (json{{"text", text}}));
}

TEST_F(Tokenize, ErrorsSayWhatToChange) {
  const auto refused = [&](std::vector<std::string> args, const std::string& words) {
    const Outcome outcome = natrix_program(args);
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(words));
  };
  refused({"tokenize", "--tokenizer", kTokenizer}, "--text, --file and --jsonl");
  refused({"tokenize", "--tokenizer", scratch_ / "none", "--text", "a"}, "supported: bytes");
  refused({"detokenize", "--tokenizer", kTokenizer, "--ids", "99999"}, "99999");
  write_file(scratch_ / "lines", "{\"text\": \"a\"}\n{\"body\": 3}\n");
  refused({"tokenize", "--tokenizer", kTokenizer, "--jsonl", scratch_ / "lines"}, "lines:2");
}

/// A run whose text goes through the tokenizer; its checkpoints carry the tokenizer, and read text with it.
TEST_F(Tokenize, ARunTrainsEvaluatesAndGeneratesText) {
  const TinyRun tiny;
  write_file(scratch_ / "tokenizer/tokenizer.json", read_file(kTokenizer));
  const Outcome trained = tiny.train("bpe", {"data.tokenizer=" + scratch_ / "tokenizer", "train.steps=10",
                                             "data.cache=" + scratch_ / "cache"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  const json facts = natrix_json({"inspect", tiny / "bpe"});
  EXPECT_EQ(facts["vocab_size"], tokenizer_->vocab_size());
  write_file(scratch_ / "held", "the light was upon the deep");
  const json eval = natrix_json({"eval", tiny / "bpe", "--data", scratch_ / "held"});
  EXPECT_GT(eval["predictions"].get<int64_t>(), 0);
  EXPECT_EQ(eval["bytes"], 27);
  const json text =
      natrix_json({"generate", tiny / "bpe", "--prompt", "the light", "-n", "5", "--temp", "0"});
  EXPECT_TRUE(text["text"].is_string());
}

}  // namespace
}  // namespace natrix::test
