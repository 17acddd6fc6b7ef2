// natrix generate as a user runs it: a text in one piece or in several with saved states, tokens in and out,
// flags.
#include <cmath>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "core/files/safetensors.h"
#include "core/io/checkpoint_dir.h"
#include "kernels/base/buffer.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using Words = std::vector<std::string>;

const Words kGreedy = {"--temp", "0"};

/// natrix generate on the trained model, greedily.
json greedy(Words args, const ProgramOptions& options = {}) {
  args.insert(args.begin(), {"generate", trained_run()});
  args.insert(args.end(), kGreedy.begin(), kGreedy.end());
  return natrix_json(args, options);
}

std::string text_of(const json& result) {
  return result["text"].get<std::string>();
}

const std::string kPrompt = "the deep was without form. let there be ";

TEST(Generate, WritesWordsItHasLearned) {
  const json r = greedy({"-p", kPrompt, "-n", "60"});
  const std::string text = text_of(r);
  EXPECT_EQ(text.size(), 60u);
  EXPECT_EQ(r["generated"], 60);
  EXPECT_EQ(r["position"], kPrompt.size() + 60);
  EXPECT_THAT(text, MatchesRegex("[a-z. \n]+"));
  EXPECT_GT(std::set<char>(text.begin(), text.end()).size(), 3u);
}

TEST(Generate, TheChunkAndTheBackendDoNotShow) {
  const std::string whole = text_of(greedy({"-p", kPrompt, "-n", "40"}));
  for (const char* chunk : {"1", "7", "32", "100000"}) {
    EXPECT_EQ(text_of(greedy({"-p", kPrompt, "-n", "40", "--chunk", chunk})), whole) << chunk;
  }
  EXPECT_EQ(text_of(greedy({"-p", kPrompt, "-n", "40", "--backend", "reference", "--chunk", "5"})), whole);
}

TEST(Generate, InPiecesThroughStatesEqualsInOne) {
  const ScratchDir scratch;
  const std::string whole = text_of(greedy({"-p", kPrompt, "-n", "40"}));
  for (const size_t first : {size_t{1}, size_t{9}, kPrompt.size() - 1, kPrompt.size()}) {
    const json read = greedy({"-p", kPrompt.substr(0, first), "-n", "0", "--state-out", scratch / "a"});
    EXPECT_EQ(read["text"], "");
    EXPECT_EQ(read["position"], first);
    Words rest = {"-n", "40", "--state-in", scratch / "a"};
    if (first < kPrompt.size()) rest.insert(rest.end(), {"-p", kPrompt.substr(first)});
    const json r = greedy(rest);
    EXPECT_EQ(text_of(r), whole) << "after " << first;
    EXPECT_EQ(r["position"], kPrompt.size() + 40);
  }
  // Stopped while writing, and gone on with.
  const json begun = greedy({"-p", kPrompt, "-n", "15", "--state-out", scratch / "b"});
  const json ended = greedy({"-n", "25", "--state-in", scratch / "b"});
  EXPECT_EQ(text_of(begun) + text_of(ended), whole);
}

TEST(Generate, AStateHasTheSameSizeWhateverWasRead) {
  const ScratchDir scratch;
  std::vector<uintmax_t> sizes;
  for (const int64_t bytes : {1, 100, 30000}) {
    write_file(scratch / "prefix", some_text(bytes));
    greedy({"-f", scratch / "prefix", "-n", "0", "--state-out", scratch / "state"});
    sizes.push_back(fs::file_size(scratch / "state"));
    const json facts = json::parse(natrix_program({"inspect", scratch / "state", "--json"}).out);
    EXPECT_EQ(facts["tokens"], bytes);
    EXPECT_EQ(facts["bytes"], sizes.back());
  }
  EXPECT_EQ(sizes[0], sizes[1]);
  EXPECT_EQ(sizes[0], sizes[2]);
}

TEST(Generate, ReadsStandardInputAndFiles) {
  const ScratchDir scratch;
  write_file(scratch / "prompt", kPrompt);
  const std::string whole = text_of(greedy({"-p", kPrompt, "-n", "20"}));
  EXPECT_EQ(text_of(greedy({"-f", scratch / "prompt", "-n", "20"})), whole);
  EXPECT_EQ(text_of(greedy({"--prompt-file", "-", "-n", "20"}, {.input = kPrompt})), whole);
}

TEST(Generate, WithoutAPromptADocumentBegins) {
  const json r = greedy({"-n", "10"});
  EXPECT_EQ(text_of(r).size(), 10u);
  EXPECT_EQ(r["position"], 11);  // the start of a document is a token
  EXPECT_EQ(text_of(greedy({"-p", "", "-n", "10"})), text_of(r));
}

TEST(Generate, NoTokensIsNoText) {
  const Outcome r = natrix_program({"generate", trained_run(), "-p", "the", "-n", "0"});
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.out, "");
  EXPECT_THAT(r.err, HasSubstr("3 tokens read"));
}

TEST(Generate, TextGoesToStdoutAndTheRestToStderr) {
  const Outcome r = natrix_program({"generate", trained_run(), "-p", kPrompt, "-n", "20", "--temp", "0"});
  EXPECT_EQ(r.out, text_of(greedy({"-p", kPrompt, "-n", "20"})) + "\n");
  EXPECT_THAT(r.err, HasSubstr("tokens/s"));
  EXPECT_EQ(natrix_program({"generate", trained_run(), "-p", kPrompt, "-n", "2", "--quiet"}).err, "");
}

TEST(Generate, TakesTheNamesOfOtherPrograms) {
  const Words ours = {"-n",      "30",  "--temp",  "0.9",  "--top-k",          "5",
                      "--top-p", "0.9", "--min-p", "0.01", "--repeat-penalty", "1.1"};
  const Words theirs = {
      "--max-new-tokens", "30",   "--temperature",        "0.9", "--top_k", "5", "--top_p", "0.9",
      "--min_p",          "0.01", "--repetition_penalty", "1.1"};
  const auto run = [](Words args, const char* seed) {
    args.insert(args.begin(), {"generate", trained_run(), "-p", "the ", "--seed", seed});
    return text_of(natrix_json(args));
  };
  EXPECT_EQ(run(ours, "7"), run(theirs, "7"));
  EXPECT_NE(run(ours, "7"), run(ours, "8"));
}

// ---- tokens in, tokens out
// ------------------------------------------------------------------------------------------

void write_rows(const std::string& path, const std::vector<std::string>& rows) {
  const auto batch = static_cast<int64_t>(rows.size()), length = static_cast<int64_t>(rows[0].size());
  Buffer tokens(Dtype::kI64, {batch, length});
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < length; ++t)
      tokens.view().row<int64_t>(b)[t] = rows[static_cast<size_t>(b)][static_cast<size_t>(t)];
  }
  write_safetensors(path, {{"tokens", tokens.view()}});
}

std::vector<std::string> read_rows(const std::string& path) {
  const Safetensors file(path);
  const View tokens = file.at("tokens");
  std::vector<std::string> rows;
  for (int64_t b = 0; b < tokens.rows(); ++b) {
    const int64_t* row = tokens.row<int64_t>(b);
    rows.emplace_back(row, row + tokens.cols());
  }
  return rows;
}

TEST(GenerateTokens, EachRowGoesOnAsItWouldAlone) {
  const ScratchDir scratch;
  const Words prompts = {"the light ", "and the da", "let there "};
  write_rows(scratch / "in", prompts);
  const json r = greedy({"--tokens", scratch / "in", "--out", scratch / "out", "-n", "12", "--ignore-eos"});
  EXPECT_EQ(r["generated"], 36);
  EXPECT_EQ(r["out"], scratch / "out");
  const Words rows = read_rows(scratch / "out");
  ASSERT_EQ(rows.size(), 3u);
  for (size_t b = 0; b < 3; ++b) {
    EXPECT_EQ(rows[b], prompts[b] + text_of(greedy({"-p", prompts[b], "-n", "12", "--ignore-eos"})));
  }
}

TEST(GenerateTokens, StatesHoldAllRows) {
  const ScratchDir scratch;
  write_rows(scratch / "whole", {"the light ", "let there "});
  write_rows(scratch / "first", {"the l", "let t"});
  write_rows(scratch / "second", {"ight ", "here "});
  greedy({"--tokens", scratch / "whole", "--out", scratch / "want", "-n", "10", "--ignore-eos"});
  greedy({"--tokens", scratch / "first", "--out", scratch / "read", "-n", "0", "--state-out",
          scratch / "state"});
  EXPECT_EQ(read_rows(scratch / "read"), read_rows(scratch / "first"));
  greedy({"--tokens", scratch / "second", "--out", scratch / "got", "-n", "10", "--state-in",
          scratch / "state", "--ignore-eos"});
  const Words want = read_rows(scratch / "want"), got = read_rows(scratch / "got");
  for (size_t b = 0; b < 2; ++b) EXPECT_EQ(got[b], want[b].substr(5));
}

// ---- the end of a document
// ------------------------------------------------------------------------------------------

class EndOfDocument : public ::testing::Test {
 protected:
  /// A model that knows one thing: after "ab" a document ends.
  static const std::string& run() {
    static const TinyRun tiny;
    static const bool trained = [] {
      fs::create_directory(tiny / "documents");
      for (int i = 0; i < 40; ++i) write_file(tiny / "documents/" + std::to_string(i), "ab");
      const Outcome outcome =
          tiny.train("run", {"data.train=[" + tiny / "documents" + "]", "data.documents=joined",
                             "optimizer.lr=0.05", "train.steps=60"});
      return outcome.status == 0;
    }();
    EXPECT_TRUE(trained);
    static const std::string path = tiny / "run";
    return path;
  }
};

TEST_F(EndOfDocument, StopsATextUnlessIgnored) {
  const json stopped = natrix_json({"generate", run(), "-p", "a", "-n", "9", "--temp", "0"});
  EXPECT_EQ(stopped["text"], "b");
  EXPECT_EQ(stopped["generated"], 1);
  const json ignored = natrix_json({"generate", run(), "-p", "a", "-n", "9", "--temp", "0", "--ignore-eos"});
  EXPECT_EQ(ignored["text"], "bababa");
  EXPECT_EQ(ignored["generated"], 9);
}

TEST_F(EndOfDocument, FillsTheRowsThatEndedFirst) {
  const ScratchDir scratch;
  write_rows(scratch / "in", {"a", "b"});
  natrix_json(
      {"generate", run(), "--tokens", scratch / "in", "--out", scratch / "out", "-n", "4", "--temp", "0"});
  const Safetensors file(scratch / "out");
  const int64_t* tokens = file.at("tokens").as<int64_t>();
  EXPECT_EQ(std::vector<int64_t>(tokens, tokens + 10),
            (std::vector<int64_t>{'a', 'b', 256, 256, 256, 'b', 256, 256, 256, 256}));
}

/// A copy of the trained model whose files name these ids as the end of a text.
std::string model_that_ends_with(const ScratchDir& scratch, const std::string& generation_config,
                                 const std::string& config) {
  const std::string dir = scratch / "model";
  fs::remove_all(dir);
  fs::copy(resolve_model_dir(trained_run()), dir, fs::copy_options::recursive);
  fs::remove(dir + "/manifest.json");
  json whole = json::parse(read_file(dir + "/config.json"));
  whole["eos_token_id"] = json::parse(config);
  write_file(dir + "/config.json", whole.dump());
  write_file(dir + "/generation_config.json", "{\"eos_token_id\": " + generation_config + "}");
  return dir;
}

TEST(Generate, EveryFileMayNameTheEndOfAText) {
  const ScratchDir scratch;
  const std::string whole = text_of(greedy({"-p", kPrompt, "-n", "40"}));
  const std::string first_word = whole.substr(0, whole.find(' ', 1));
  ASSERT_LT(first_word.size(), whole.size());
  std::vector<int64_t> prompt(kPrompt.begin(), kPrompt.end());
  const std::string in = scratch / "in.safetensors", out = scratch / "out.safetensors";
  write_safetensors(in, {{"tokens", View(prompt.data(), Dtype::kI64, {1, std::ssize(prompt)})}});
  const std::string space = std::to_string(int{' '});
  for (const auto& [generation, config] :
       {std::pair("[256, " + space + "]", std::string("256")), std::pair(space, std::string("256")),
        std::pair(std::string("256"), "[" + space + ", 256]"),
        std::pair(std::string("null"), "[256, " + space + "]")}) {
    SCOPED_TRACE(generation + " " + config);
    const std::string dir = model_that_ends_with(scratch, generation, config);
    const Words flags = {"-n", "40", "--temp", "0"};
    const auto run = [&](Words args) {
      args.insert(args.begin(), {"generate", dir});
      args.insert(args.end(), flags.begin(), flags.end());
      return natrix_json(args);
    };
    EXPECT_EQ(text_of(run({"-p", kPrompt})), first_word);
    EXPECT_EQ(text_of(run({"-p", kPrompt, "--ignore-eos"})), whole);
    run({"--tokens", in, "-o", out});
    const Safetensors file(out);
    const int64_t* tokens = file.at("tokens").as<int64_t>() + prompt.size();
    EXPECT_EQ(std::string(tokens, tokens + first_word.size()), first_word);
    for (size_t i = first_word.size() + 1; i < 40; ++i)
      EXPECT_EQ(tokens[i], generation == space ? ' ' : 256) << i;
  }
}

TEST(Generate, SaysWhichBackendRuns) {
  const Outcome r =
      natrix_program({"generate", trained_run(), "-p", kPrompt, "-n", "2", "--backend", "reference"});
  EXPECT_THAT(r.err, HasSubstr("natrix: reference backend, "));
  EXPECT_THAT(natrix_program({"generate", trained_run(), "-p", kPrompt, "-n", "2"}).err,
              HasSubstr(" backend, "));
}

}  // namespace
}  // namespace natrix::test
