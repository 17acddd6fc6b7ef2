#include "core/text/token_cache.h"

#include <atomic>
#include <filesystem>
#include <thread>

#include "core/files/directory_lock.h"
#include "core/text/cache_writer.h"
#include "tests/core/compression.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;

class TokenCache : public ::testing::Test {
 protected:
  ReadOptions options(int64_t part_tokens = 1 << 24) const {
    return {
        .cache = scratch_ / "cache", .threads = 2, .quiet = true, .first = true, .part_tokens = part_tokens};
  }
  std::unique_ptr<Corpus> open(const std::vector<DataEntry>& entries, const Tokenizer& tokenizer = *kBytes,
                               int64_t part_tokens = 1 << 24) const {
    return open_corpus_of(entries, tokenizer, "data.train", options(part_tokens));
  }
  Tokens tokens_of(const std::vector<DataEntry>& entries, const Tokenizer& tokenizer = *kBytes,
                   int64_t part_tokens = 1 << 24) const {
    const auto corpus = open(entries, tokenizer, part_tokens);
    return read_tokens(*corpus, 0, corpus->size());
  }
  /// Names in CACHE/tokens, sorted.
  std::vector<std::string> entries() const {
    std::vector<std::string> names;
    if (!fs::exists(scratch_ / "cache/tokens")) return names;
    for (const auto& e : fs::directory_iterator(scratch_ / "cache/tokens"))
      names.push_back(e.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  ScratchDir scratch_;
};

/// A line of JSON whose text is all ASCII or escaped.
std::string record(const std::string& text, const std::string& key = "text") {
  return "{\"id\": 1, \"" + key + "\": \"" + text + "\"}\n";
}

TEST_F(TokenCache, HoldsTheDocumentsOfEveryKindOfText) {
  const DataEntry jsonl(scratch_.write("a.jsonl", record("the") + "\n" + record("") + record("ab")));
  DataEntry keyed(scratch_.write("b.json.zst", zstd(record("in", "content"))));
  keyed.key = "content";
  const DataEntry packed(scratch_.write("c.txt.gz", gzip("the end\n")));
  const DataEntry plain(scratch_.write("d.txt", "plain"));
  const std::vector<std::string> documents = {"the", "", "ab", "in", "the end\n", "plain"};
  const auto corpus = open({jsonl, keyed, packed, plain});
  EXPECT_EQ(read_tokens(*corpus, 0, corpus->size()), expected_tokens(documents));
  EXPECT_EQ(corpus->documents(), 6);
  EXPECT_EQ(corpus->text_bytes(0, corpus->size()), 20);
  ASSERT_EQ(corpus->files().size(), 4u);
  EXPECT_EQ(corpus->files()[1].path, keyed.path);
  EXPECT_EQ(corpus->files()[1].checksum, "");

  const PairTokenizer pairs;
  EXPECT_EQ(tokens_of({jsonl, keyed, packed, plain}, pairs),
            (Tokens{256, 257, 'e', 256,  256, 260, 256, 259, 256, 257, 258,
                    'e', 'n', 'd', '\n', 256, 'p', 'l', 'a', 259, 256}));
  EXPECT_EQ(entries().size(), 2u);
}

TEST_F(TokenCache, IsUsedAgainWhereverTheFilesAre) {
  const DataEntry entry(scratch_.write("a.jsonl", record("the end")));
  const Tokens tokens = tokens_of({entry});
  const auto made = entries();
  ASSERT_EQ(made.size(), 1u);
  const std::string shard = scratch_ / "cache/tokens/" + made[0] + "/shard-00000.bin";
  const auto when = fs::last_write_time(shard);
  fs::rename(entry.path, scratch_ / "moved.jsonl");
  EXPECT_EQ(tokens_of({DataEntry(scratch_ / "moved.jsonl")}), tokens);
  EXPECT_EQ(entries(), made);
  EXPECT_EQ(fs::last_write_time(shard), when);

  scratch_.write("moved.jsonl", record("the END"));
  EXPECT_NE(tokens_of({DataEntry(scratch_ / "moved.jsonl")}), tokens);
  EXPECT_EQ(entries().size(), 2u);
}

TEST_F(TokenCache, DoesNotDependOnThreadsOrParts) {
  std::mt19937 random(1);
  std::string lines;
  std::vector<std::string> documents;
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (uint64_t n = random() % 60; n > 0; --n) text += "the in ab e "[random() % 12];
    documents.push_back(text);
    lines += record(text);
  }
  const DataEntry entry(scratch_.write("a.jsonl.gz", gzip(lines)));
  const Tokens expected = expected_tokens(documents);
  for (const auto& [threads, part] : {std::pair(1, int64_t{1} << 24), {4, 20'000}, {3, 5000}}) {
    ReadOptions o = options(part);
    o.threads = threads;
    o.cache = scratch_ / "cache" + std::to_string(threads);
    const auto corpus = open_corpus_of({entry}, *kBytes, "data.train", o);
    EXPECT_EQ(read_tokens(*corpus, 0, corpus->size()), expected);
  }
}

TEST_F(TokenCache, GoesOnAfterTheLastCompletePart) {
  const std::vector<TextFile> files = {
      {.path = scratch_.write("a.jsonl", record("the") + record("abin") + record("") + record("e th")),
       .size = 0,
       .records = true,
       .key = {}},
      {.path = scratch_.write("b.txt", "then"), .size = 4, .records = false, .key = {}},
      {.path = scratch_.write("c.txt", ""), .size = 0, .records = false, .key = {}}};
  const PairTokenizer pairs;
  const auto pieces_from = [&](CacheWriter& writer, size_t most) {
    size_t taken = 0;
    std::vector<TokenPiece> pieces;
    tokenise(
        files, writer.position(), {.tokenizer = pairs}, 1, [&](const TokenPiece& p) { pieces.push_back(p); },
        [](int64_t) {});
    for (const TokenPiece& piece : pieces) {
      if (taken++ < most) writer.add(piece);
    }
    return pieces.size();
  };
  const auto shards_of = [&](const std::string& dir) {
    std::string all;
    for (int i = 0; fs::exists(dir + "/shard-0000" + std::to_string(i) + ".bin"); ++i)
      all += read_file(dir + "/shard-0000" + std::to_string(i) + ".bin");
    return all + read_file(dir + "/index.json");
  };
  fs::create_directories(scratch_ / "whole");
  {
    CacheWriter writer(scratch_ / "whole", pairs, 3);
    EXPECT_EQ(pieces_from(writer, 100), 6u);
    writer.finish({"a"});
  }
  for (size_t pieces = 0; pieces <= 6; ++pieces) {
    const std::string dir = scratch_ / "killed" + std::to_string(pieces);
    fs::create_directories(dir);
    {
      CacheWriter killed(dir, pairs, 3);
      pieces_from(killed, pieces);
      if (pieces == 6) killed.finish({"a"});  // and before it was renamed
    }
    CacheWriter writer(dir, pairs, 3);
    const size_t left = pieces_from(writer, 100);
    EXPECT_LE(left, 7 - pieces);  // at most one piece is done again
    writer.finish({"a"});
    EXPECT_EQ(shards_of(dir), shards_of(scratch_ / "whole")) << pieces;
  }
  // A damaged part, or a damaged record of them, is made again.
  write_file(scratch_ / "killed2/parts.json", "{");
  fs::resize_file(scratch_ / "killed3/shard-00000.bin", 20);
  for (const std::string name : {"killed2", "killed3"}) {
    CacheWriter writer(scratch_ / name, pairs, 3);
    EXPECT_EQ(pieces_from(writer, 100), 6u);
    writer.finish({"a"});
    EXPECT_EQ(shards_of(scratch_ / name), shards_of(scratch_ / "whole"));
  }
}

TEST_F(TokenCache, IsMadeByOneOfManyThatWantIt) {
  std::string lines;
  for (int i = 0; i < 2000; ++i) lines += record("the end of line in ab");
  const DataEntry entry(scratch_.write("a.jsonl", lines));
  std::vector<std::thread> threads;
  std::vector<Tokens> results(4);
  for (size_t i = 0; i < results.size(); ++i)
    threads.emplace_back([&, i] { results[i] = tokens_of({entry}, *kBytes, 5000); });
  for (auto& thread : threads) thread.join();
  for (const Tokens& tokens : results) EXPECT_EQ(tokens, results[0]);
  EXPECT_EQ(results[0].size(), 2000u * 22 + 1);
  EXPECT_EQ(entries().size(), 1u);
}

TEST_F(TokenCache, WaitsForAnotherProcess) {
  const DataEntry entry(scratch_.write("a.jsonl", record("the end")));
  tokens_of({entry});
  const std::string dir = scratch_ / "cache/tokens/" + entries()[0];
  fs::rename(dir, dir + ".partial");  // as if it were being made
  std::atomic<bool> done = false;
  auto lock = std::make_unique<DirectoryLock>(dir + ".partial", "test");
  std::thread waiting([&] {
    EXPECT_EQ(tokens_of({entry}).size(), 9u);
    done = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  EXPECT_FALSE(done);
  fs::rename(dir + ".partial", dir);
  lock.reset();
  waiting.join();
  EXPECT_EQ(entries().size(), 1u);
}

TEST_F(TokenCache, AFaultLeavesNothingBehind) {
  std::string many;
  for (int i = 0; i < 500; ++i) many += record("the end of line");
  const std::string packed = zstd(many);
  struct Fault {
    std::string name, content;
    std::vector<std::string> parts;
  };
  const Fault faults[] = {
      {"not_json.jsonl", many + "{oops}\n", {"not_json.jsonl:501: ", "not valid JSON"}},
      {"no_key.jsonl", record("a") + record("b", "content"), {"no_key.jsonl:2: ", "no key \"text\""}},
      {"number.jsonl", "{\"text\": 5}\n", {"number.jsonl:1: ", "expected a string"}},
      {"utf8.jsonl", record("a\xFF"), {"utf8.jsonl:1: ", "not valid JSON"}},
      {"first.jsonl", "\n" + record("a", "x") + "{\n", {"first.jsonl:2: "}},
      {"cut.jsonl.zst", packed.substr(0, packed.size() / 2), {"cut.jsonl.zst, byte ", "ends in the middle"}},
      {"plain.jsonl.gz", many, {"plain.jsonl.gz, byte 0", "is not valid gzip"}},
      {"bomb.txt.zst", zstd(std::string(100 << 20, 'a')), {"bomb.txt.zst", "decompression bomb"}},
      {"empty.jsonl", "\n\n", {"empty.jsonl", "has no text"}},
      {"empty.txt.gz", gzip(""), {"empty.txt.gz", "has no text"}},
  };
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.name);
    const DataEntry entry(scratch_.write(fault.name, fault.content));
    expect_error<InputError>([&] { open({entry}, *kBytes, 100); }, fault.parts);
    EXPECT_FALSE(fs::exists(scratch_ / "cache"));
  }
}

TEST_F(TokenCache, DoesNotDependOnWhereTheTokenizerIs) {
  class Moved final : public Tokenizer {
   public:
    explicit Moved(std::string where, std::string content)
        : where_(std::move(where)), content_(std::move(content)) {}
    std::string name() const override { return where_; }
    std::string identity() const override { return content_; }
    int64_t vocab_size() const override { return pairs_.vocab_size(); }
    int64_t eod() const override { return pairs_.eod(); }
    std::vector<int64_t> encode(std::string_view text) const override { return pairs_.encode(text); }
    std::string decode(std::span<const int64_t> ids) const override { return pairs_.decode(ids); }

   private:
    PairTokenizer pairs_;
    std::string where_, content_;
  };
  const DataEntry entry(scratch_.write("a.jsonl", record("the end")));
  const Tokens tokens = tokens_of({entry}, Moved("/here", "x"));
  EXPECT_EQ(tokens_of({entry}, Moved("/there", "x")), tokens);
  EXPECT_EQ(entries().size(), 1u);
  EXPECT_EQ(tokens_of({entry}, Moved("/there", "y")), tokens);
  EXPECT_EQ(entries().size(), 2u);
  const std::string dir = scratch_ / "cache/tokens/" + entries()[0];
  expect_error<InputError>([&] { open_corpus({dir}, Moved("/else", "z")); }, {dir, "/else"});
}

TEST_F(TokenCache, DamageIsNamedWithItsRemedy) {
  const DataEntry entry(scratch_.write("a.jsonl", record("the end")));
  tokens_of({entry});
  const std::string dir = scratch_ / "cache/tokens/" + entries()[0];
  fs::resize_file(dir + "/shard-00000.bin", 70);
  expect_error<InputError>([&] { open({entry}); }, {entry.path, "damaged; remove " + dir});
}

TEST_F(TokenCache, NeedsAnEndOfDocumentAndAPlaceToWrite) {
  const DataEntry entry(scratch_.write("a.jsonl", record("the end")));
  expect_error<InputError>([&] { open({entry}, *make_tokenizer("bytes", 256)); },
                           {entry.path, "without an end of document"});
  scratch_.write("cache", "a file");
  expect_error<InputError>([&] { open({entry}); },
                           {entry.path, scratch_ / "cache", "data.cache", "NATRIX_CACHE"});
}

TEST(DefaultCache, IsTheEnvironmentsOrBelowHome) {
  setenv("NATRIX_CACHE", "/x/y", 1);
  EXPECT_EQ(default_cache(), "/x/y");
  unsetenv("NATRIX_CACHE");
  setenv("XDG_CACHE_HOME", "/x", 1);
  EXPECT_EQ(default_cache(), "/x/natrix");
  unsetenv("XDG_CACHE_HOME");
  EXPECT_TRUE(default_cache().ends_with("/.cache/natrix"));
}

}  // namespace
}  // namespace natrix::test
