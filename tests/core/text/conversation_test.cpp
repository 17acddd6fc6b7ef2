#include "core/text/conversation.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/text/batches.h"
#include "core/text/token_shards.h"
#include "kernels/loss.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;

/// "u:hello.\n" for a user, "a:hi.\n" for the assistant, of which "hi." is learnt. Without ends: no ".\n".
class LineTemplate final : public ConversationTemplate {
 public:
  explicit LineTemplate(bool with_ends = true) : with_ends_(with_ends) {}
  std::string identity() const override { return with_ends_ ? "lines" : "endless"; }
  Conversation render(const nlohmann::ordered_json& messages,
                      const nlohmann::ordered_json* tools) const override {
    Conversation made;
    if (tools != nullptr) made.text = tools->dump() + "\n";
    for (const auto& message : messages) {
      const std::string role = message["role"];
      if (role != "user" && role != "assistant") throw InputError("the role " + role + " is not known");
      made.text += role.substr(0, 1) + ":";
      const auto begin = static_cast<int64_t>(made.text.size());
      made.text += message["content"].get<std::string>() + (with_ends_ ? "." : "");
      if (role == "assistant") made.assistant.emplace_back(begin, made.text.size());
      if (with_ends_) made.text += "\n";
    }
    return made;
  }

 private:
  bool with_ends_;
};

class Conversations : public ::testing::Test {
 protected:
  std::unique_ptr<Corpus> open(const std::string& content, const ConversationTemplate* chat,
                               const std::string& key = "", int64_t part_tokens = 1 << 24) const {
    DataEntry entry(scratch_.write("chat.jsonl", content));
    entry.key = key;
    return open_corpus_of(
        {entry}, pairs_, "data.train",
        {.cache = scratch_ / "cache", .threads = 1, .quiet = true, .chat = chat, .part_tokens = part_tokens});
  }
  /// Tokens as their text, upper case where they are to be predicted, "|" and "!" for separators.
  std::string shown(const Corpus& corpus) const {
    const int64_t size = corpus.size();
    std::vector<uint8_t> starts(static_cast<size_t>(size)), loss(static_cast<size_t>(size));
    Tokens tokens(static_cast<size_t>(size));
    corpus.read(0, size, tokens.data(), starts.data());
    corpus.read_loss(0, size, loss.data());
    std::string text;
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string part = pairs_.decode({&tokens[i], 1});
      EXPECT_EQ(starts[i] == 1, tokens[i] == 256);
      if (tokens[i] == 256) part = loss[i] == 1 ? "!" : "|";
      if (loss[i] == 1) std::transform(part.begin(), part.end(), part.begin(), ::toupper);
      text += part;
    }
    return text;
  }

  static constexpr const char* kTwo =
      R"({"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "the end"}]})"
      "\n"
      R"({"messages": [{"role": "assistant", "content": "ab"}, {"role": "user", "content": "in"},)"
      R"( {"role": "assistant", "content": "x"}]})"
      "\n";

  ScratchDir scratch_;
  PairTokenizer pairs_;
  LineTemplate lines_;
};

TEST_F(Conversations, OnlyTheAssistantIsLearnt) {
  const auto corpus = open(kTwo, &lines_);
  EXPECT_TRUE(corpus->masks_loss());
  EXPECT_EQ(shown(*corpus), "|u:hello.\na:THE END.\n|a:AB.\nu:in.\na:X.\n|");
  EXPECT_EQ(corpus->documents(), 2);
  // Where the template does not end the answer, the end of the document does.
  const LineTemplate endless(false);
  EXPECT_EQ(shown(*open(kTwo, &endless)), "|u:helloa:THE END!a:ABu:ina:X!");
}

TEST_F(Conversations, MayHaveAnotherKeyAndAnyParts) {
  std::string content = kTwo;
  for (size_t at = 0; (at = content.find("\"messages\"", at)) != std::string::npos;)
    content.replace(at, 10, "\"turns\"");
  EXPECT_EQ(shown(*open(content, &lines_, "turns", 1)), "|u:hello.\na:THE END.\n|a:AB.\nu:in.\na:X.\n|");
}

TEST_F(Conversations, MayHaveToolsWhoseKeysKeepTheirOrder) {
  const std::string content =
      R"({"tools": [{"z": 1, "a": 2}], "messages": [{"role": "assistant", "content": "x"}]})"
      "\n"
      R"({"tools": null, "messages": [{"role": "assistant", "content": "x"}]})";
  EXPECT_EQ(shown(*open(content, &lines_)), "|[{\"z\":1,\"a\":2}]\na:X.\n|a:X.\n|");
}

TEST_F(Conversations, GiveBatchesWithoutTargetsElsewhere) {
  const std::shared_ptr<const Corpus> corpus = open(kTwo, &lines_);
  std::vector<uint8_t> loss(static_cast<size_t>(corpus->size()));
  corpus->read_loss(0, corpus->size(), loss.data());
  const int64_t learnt = std::count(loss.begin() + 1, loss.end(), 1);
  const EvalWindows windows(corpus, Documents::kPacked, 7, 1000);
  EXPECT_EQ(windows.predictions(), learnt);
  int64_t targets = 0;
  for (int64_t w = 0; w < windows.count(); ++w) {
    for (const int64_t target : row_of(windows.windows(w, 1).targets, 0))
      targets += target == kIgnoreTarget ? 0 : 1;
  }
  EXPECT_EQ(targets, learnt);
  EXPECT_EQ(windows.bytes(), 8 + 3 + 2);  // "the end.", "ab.", "x."
  const auto source =
      shuffled_windows(corpus, Documents::kPacked, corpus->size() - 1, 1, 5);  // all of the ring
  const Batch batch = source->batch(0, 0, 1);
  const Tokens tokens = row_of(batch.tokens, 0), next = row_of(batch.targets, 0);
  for (size_t t = 0; t + 1 < tokens.size(); ++t)
    EXPECT_TRUE(next[t] == kIgnoreTarget || next[t] == tokens[t + 1]);
}

TEST_F(Conversations, BecomeShardsWithMarks) {
  const auto corpus = open(kTwo, &lines_);
  const std::string dir = scratch_ / "shards";
  write_token_shards(*corpus, pairs_, {"chat.jsonl"}, dir, 7);
  EXPECT_EQ(shown(*open_token_shards(dir, pairs_)), shown(*corpus));
  EXPECT_EQ(check_token_shards(dir).documents, 2);
  const std::string marks = dir + "/shard-00001.marks", before = read_file(marks);
  std::string changed = before;
  changed[2] ^= 2;
  write_file(marks, changed);
  expect_error<InputError>([&] { check_token_shards(dir); }, {marks, "checksum"});
  write_file(marks, before.substr(1));
  expect_error<InputError>([&] { open_token_shards(dir, pairs_); }, {marks, "6 marks", "7 tokens"});
}

TEST_F(Conversations, FaultsNameTheLine) {
  expect_error<InputError>([&] { open(kTwo, nullptr); },
                           {"chat.jsonl holds conversations", "'pairs'", "chat template"});
  const std::string good = R"({"messages": [{"role": "user", "content": "a"}]})"
                           "\n";
  const std::pair<std::string, std::vector<std::string>> faults[] = {
      {good + R"({"text": "a"})", {"chat.jsonl:2: ", "no key \"messages\""}},
      {good + R"({"messages": []})", {"chat.jsonl:2: ", "\"messages\" is empty"}},
      {good + R"({"messages": "a"})", {"chat.jsonl:2: ", "\"messages\" is string", "list of messages"}},
      {good + R"({"messages": [{"content": "a"}]})", {"chat.jsonl:2: ", "message 0", "\"role\""}},
      {good + R"({"messages": [{"role": "user", "content": "a"}], "tools": 3})",
       {"chat.jsonl:2: ", "\"tools\" is a JSON number"}},
      {R"({"messages": [{"role": "cook", "content": "a"}]})",
       {"chat.jsonl:1: ", "the role cook is not known"}}};
  for (const auto& [content, parts] : faults) {
    SCOPED_TRACE(content);
    expect_error<InputError>([&, &content = content] { open(content, &lines_); }, parts);
    EXPECT_FALSE(fs::exists(scratch_ / "cache"));
  }
}

}  // namespace
}  // namespace natrix::test
