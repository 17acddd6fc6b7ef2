#include "core/text/token_shards.h"

#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/text/batches.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class TokenShards : public testing::Test {
 protected:
  TokenShards() {
    std::mt19937 random(1);
    documents_ = random_documents(random, 9, 200);
    documents_[4].clear();
    text_ = open_corpus({write_documents(scratch_, "texts", documents_)}, *kBytes);
  }
  std::string make(int64_t shard_tokens, const std::string& name = "shards") {
    write_token_shards(*text_, *kBytes, {"texts"}, scratch_ / name, shard_tokens);
    return scratch_ / name;
  }
  /// Replaces bytes of a file.
  static void poke(const std::string& path, size_t offset, const std::string& bytes) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }
  static void replace(const std::string& path, const std::string& from, const std::string& to) {
    auto text = read_file(path);
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from << " not in " << text;
    text.replace(at, from.size(), to);
    std::ofstream(path, std::ios::binary) << text;
  }
  static std::function<void()> opening(const std::string& dir) {
    return [dir] { open_corpus({dir}, *kBytes); };
  }

  ScratchDir scratch_;
  std::vector<std::string> documents_;
  std::unique_ptr<Corpus> text_;
};

TEST_F(TokenShards, HoldTheTokensOfTheText) {
  const auto expected = expected_tokens(documents_);
  const auto size = static_cast<int64_t>(expected.size());
  std::mt19937 random(2);
  for (const int64_t shard_tokens : {int64_t{61}, int64_t{100}, size - 1, size, 2 * size}) {
    const auto dir = make(shard_tokens, "shards-of-" + std::to_string(shard_tokens));
    const auto corpus = open_corpus({dir}, *kBytes);
    ASSERT_EQ(corpus->size(), size);
    EXPECT_EQ(corpus->documents(), 9);
    EXPECT_EQ(corpus->eod(), 256);
    EXPECT_EQ(read_tokens(*corpus, 0, size), expected);
    for (int i = 0; i < 50; ++i) {
      const auto begin = static_cast<int64_t>(random()) % size;
      const auto count = static_cast<int64_t>(random()) % (size - begin + 1);
      std::vector<int64_t> a(static_cast<size_t>(count)), b(a);
      std::vector<uint8_t> starts_a(a.size()), starts_b(a.size());
      corpus->read(begin, count, a.data(), starts_a.data());
      text_->read(begin, count, b.data(), starts_b.data());
      EXPECT_EQ(a, b);
      EXPECT_EQ(starts_a, starts_b);
      EXPECT_EQ(corpus->text_bytes(begin, count), text_->text_bytes(begin, count));
    }
    EXPECT_EQ(check_token_shards(dir).shards, (size + shard_tokens - 1) / shard_tokens);
    EXPECT_FALSE(fs::exists(dir + ".partial"));
  }
}

TEST_F(TokenShards, AreTheDocumentedBytes) {
  const auto dir = make(100);
  const auto bytes = read_file(dir + "/shard-00001.bin");
  ASSERT_EQ(bytes.size(), 64u + 200u);
  EXPECT_EQ(bytes.substr(0, 8), "NATRIXTK");
  const auto field = [&](size_t offset, size_t size) {
    int64_t value = 0;
    std::memcpy(&value, bytes.data() + offset, size);
    return value;
  };
  EXPECT_EQ(field(8, 4), 1);     // version
  EXPECT_EQ(field(12, 4), 2);    // bytes a token
  EXPECT_EQ(field(16, 8), 100);  // tokens
  EXPECT_EQ(field(24, 8), 257);  // vocabulary
  EXPECT_EQ(field(32, 8), 256);  // end of document
  EXPECT_NE(read_file(dir + "/index.json").find("\"xxh3\": \"" + bytes.substr(40, 16) + "\""),
            std::string::npos);
  const auto expected = expected_tokens(documents_);
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(field(64 + 2 * i, 2), expected[100 + i]);
}

TEST_F(TokenShards, WideVocabulariesTakeFourBytes) {
  EXPECT_EQ(token_bytes_for(257), 2);
  EXPECT_EQ(token_bytes_for(65536), 2);
  EXPECT_EQ(token_bytes_for(65537), 4);
  const std::vector<int64_t> tokens = {0, 65535, 65536, 4294967295};
  std::vector<unsigned char> stored(16);
  narrow_tokens(tokens.data(), 4, 4, stored.data());
  std::vector<int64_t> back(4);
  auto* tail = reinterpret_cast<unsigned char*>(back.data()) + 16;  // widened in place, as readers do
  std::memcpy(tail, stored.data(), 16);
  widen_tokens(tail, 4, 4, back.data());
  EXPECT_EQ(back, tokens);
}

TEST_F(TokenShards, TrainLikeTheirText) {
  const std::shared_ptr<const Corpus> shards = open_corpus({make(50)}, *kBytes);
  const std::shared_ptr<const Corpus> text = std::move(text_);
  const auto a = shuffled_windows(shards, Documents::kPacked, 20, 4, 3);
  const auto b = shuffled_windows(text, Documents::kPacked, 20, 4, 3);
  for (int64_t step = 0; step < 10; ++step) {
    const Batch x = a->batch(step, 0, 4), y = b->batch(step, 0, 4);
    EXPECT_EQ(std::memcmp(x.tokens.view().data, y.tokens.view().data, 4 * 20 * 8), 0);
    EXPECT_EQ(std::memcmp(x.targets.view().data, y.targets.view().data, 4 * 20 * 8), 0);
    EXPECT_EQ(std::memcmp(x.doc_start.view().data, y.doc_start.view().data, 4 * 20), 0);
  }
}

TEST_F(TokenShards, NeverReplaceWhatIsThere) {
  const auto dir = make(100);
  expect_error<InputError>([&] { make(100); }, {dir, "not an empty directory"});
  const auto file = scratch_.write("file", "x");
  expect_error<InputError>([&] { make(100, "file"); }, {file, "not an empty directory"});
  EXPECT_EQ(read_file(file), "x");
  fs::create_directory(scratch_ / "empty");
  EXPECT_NO_THROW(check_token_shards(make(100, "empty")));
  EXPECT_NO_THROW(check_token_shards(make(100, "new/below/")));
}

TEST_F(TokenShards, ARunThatWasKilledLeavesNothingInTheWay) {
  scratch_.write("shards.partial/shard-00000.bin.tmp", "half");
  scratch_.write("shards.partial/shard-00099.bin", "old");
  const auto dir = make(1000000);
  EXPECT_FALSE(fs::exists(dir + "/shard-00099.bin"));
  check_token_shards(dir);
  scratch_.write("other.partial/thesis.txt", "mine");
  expect_error<InputError>([&] { make(100, "other"); }, {"other.partial", "remove it"});
  EXPECT_EQ(read_file(scratch_ / "other.partial/thesis.txt"), "mine");
}

TEST_F(TokenShards, OnlyADirectoryOfOursIsTakenForLeftOver) {
  scratch_.write("a.partial", "a file");
  expect_error<InputError>([&] { make(100, "a"); }, {"a.partial", "not a directory", "remove it"});
  EXPECT_EQ(read_file(scratch_ / "a.partial"), "a file");
  scratch_.write("mine/shard-00000.bin", "mine");
  fs::create_directory_symlink("mine", scratch_ / "b.partial");
  expect_error<InputError>([&] { make(100, "b"); }, {"b.partial", "not a directory"});
  EXPECT_EQ(read_file(scratch_ / "mine/shard-00000.bin"), "mine");
  fs::create_directories(scratch_ / "c.partial/shard-00000.bin");
  expect_error<InputError>([&] { make(100, "c"); }, {"c.partial", "holds other files"});
  EXPECT_TRUE(fs::is_directory(scratch_ / "c.partial/shard-00000.bin"));
}

TEST_F(TokenShards, AnExistingDirectoryStaysAndLinksAreFollowed) {
  fs::create_directories(scratch_ / "disk/empty");
  fs::permissions(scratch_ / "disk/empty", fs::perms::owner_all);
  fs::create_directory_symlink("disk/empty", scratch_ / "link");
  fs::create_directory_symlink("disk/new", scratch_ / "to_new");
  fs::create_directory_symlink("gone/new", scratch_ / "to_gone");
  struct stat before = {}, after = {};
  stat((scratch_ / "disk/empty").c_str(), &before);
  scratch_.write("disk/empty/.natrix-partial/shard-00007.bin", "of a run that was killed");
  check_token_shards(make(100, "link"));
  stat((scratch_ / "disk/empty").c_str(), &after);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(before.st_mode, after.st_mode);
  EXPECT_FALSE(fs::exists(scratch_ / "disk/empty/.natrix-partial"));
  check_token_shards(make(100, "to_new/"));
  EXPECT_TRUE(fs::is_symlink(scratch_ / "link") && fs::is_symlink(scratch_ / "to_new"));
  EXPECT_TRUE(fs::exists(scratch_ / "disk/new/index.json"));
  expect_error<InputError>([&] { make(100, "to_gone"); }, {"it is a link to", "gone", "make that directory"});
  EXPECT_FALSE(fs::exists(scratch_ / "gone"));
}

TEST_F(TokenShards, OneWriterAtATime) {
  const auto dir = scratch_ / "shards";
  fs::create_directory(dir + ".partial");
  scratch_.write("shards.partial/shard-00000.bin", "of a run that goes on");
  const int held = open((dir + ".partial").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(held, LOCK_EX), 0);
  expect_error<InputError>([&] { make(100); }, {"shards.partial", "another natrix is writing there"});
  EXPECT_TRUE(fs::exists(dir + ".partial/shard-00000.bin"));
  close(held);
  check_token_shards(make(100));
}

TEST_F(TokenShards, NothingButADirectoryIsTaken) {
  scratch_.write("empty", "");
  ASSERT_EQ(mkfifo((scratch_ / "pipe").c_str(), 0600), 0);
  for (const char* name : {"empty", "pipe"}) {
    expect_error<InputError>([&] { make(100, name); }, {name, "not an empty directory"});
    expect_error<InputError>([&] { check_shard_output(scratch_ / name); }, {name, "not an empty directory"});
  }
  expect_error<InputError>([&] { make(100, "empty/below"); }, {"empty/below", "Not a directory"});
  expect_error<InputError>([&] { make(100, "gone/.."); }, {"gone/..", "No such file"});
  expect_error<InputError>([&] { make(100, std::string(250, 'n')); }, {"File name too long"});
  check_shard_output(scratch_ / "new/below");
  EXPECT_FALSE(fs::exists(scratch_ / "new"));
}

TEST_F(TokenShards, AFailureLeavesNoDirectory) {
  const auto big = open_corpus({scratch_.write("vanishing", std::string(500, 'a'))}, *kBytes);
  fs::resize_file(scratch_ / "vanishing", 10);
  EXPECT_THROW(write_token_shards(*big, *kBytes, {}, scratch_ / "out", 100), RunError);
  EXPECT_THROW(write_token_shards(*big, *kBytes, {}, scratch_ / "new/below", 100), RunError);
  EXPECT_FALSE(fs::exists(scratch_ / "new"));
  EXPECT_FALSE(fs::exists(scratch_ / "out"));
  EXPECT_FALSE(fs::exists(scratch_ / "out.partial"));
}

TEST_F(TokenShards, CannotBeMixedWithOtherPaths) {
  const auto dir = make(100);
  expect_error<InputError>(opening(scratch_.path()), {dir, "alone"});  // below
  expect_error<InputError>([&] { open_corpus({scratch_ / "texts", dir}, *kBytes); }, {dir, "alone"});
}

TEST_F(TokenShards, NamedOneByOneAreNotReadAsText) {
  const auto dir = make(300), other = make(300, "other");
  const auto expect_refused = [&](const std::vector<std::string>& paths, std::vector<std::string> parts) {
    parts.push_back("data.eval: ");
    expect_error<InputError>([&] { open_corpus(paths, *kBytes, "data.eval"); }, parts);
  };
  const auto first = dir + "/shard-00000.bin", second = dir + "/shard-00001.bin",
             last = dir + "/shard-00002.bin";
  expect_refused({first}, {first, "give the directory, " + dir});
  expect_refused({first, second, last}, {first, "give the directory, " + dir});
  expect_refused({scratch_ / "texts/10000.txt", last}, {last, "give the directory, " + dir});
  expect_refused({first, other}, {first, "give the directory, " + dir});
  fs::copy(second, scratch_ / "renamed");
  expect_refused({scratch_ / "renamed"}, {scratch_ / "renamed", "token shards"});
  fs::create_symlink(second, scratch_ / "linked.txt");
  expect_refused({scratch_ / "linked.txt"}, {scratch_ / "linked.txt", "token shards"});
  fs::create_directory(scratch_ / "stray");
  fs::copy(second, scratch_ / "stray/tokens");
  expect_refused({scratch_ / "stray"}, {scratch_ / "stray/tokens", "token shards"});
  fs::create_directory(scratch_ / "around");
  fs::create_directory_symlink(dir, scratch_ / "around/linked");
  expect_refused({scratch_ / "around"}, {scratch_ / "around/linked", "alone"});
}

TEST_F(TokenShards, KnowTheirFilesByChecksum) {
  const auto files = open_corpus({make(300)}, *kBytes)->files();
  ASSERT_GE(files.size(), 3u);
  EXPECT_NE(read_file(scratch_ / "shards/index.json").find(files[1].checksum), std::string::npos);
  EXPECT_EQ(files[1].checksum.size(), 16u);
}

TEST_F(TokenShards, NeedTheirOwnTokenizer) {
  const auto dir = make(100);
  expect_error<InputError>([&] { open_corpus({dir}, *make_tokenizer("bytes", 256)); }, {dir, "257", "256"});
}

TEST_F(TokenShards, DamageIsNamed) {
  const auto damage = [&](const std::function<void(const std::string& dir)>& hurt,
                          std::vector<std::string> parts) {
    static int count = 0;
    const auto dir = make(300, "damaged-" + std::to_string(++count));
    hurt(dir);
    parts.push_back(dir);
    expect_error<InputError>(opening(dir), parts);
  };
  const std::string shard = "/shard-00000.bin", index = "/index.json";
  damage([&](auto& dir) { poke(dir + shard, 0, "GGUF"); },
         {"shard-00000.bin", "does not start with NATRIXTK"});
  damage([&](auto& dir) { poke(dir + shard, 8, "\x07"); }, {"format version is 7"});
  damage([&](auto& dir) { poke(dir + shard, 12, "\x04"); }, {"bytes per token is 4"});
  damage([&](auto& dir) { poke(dir + shard, 16, "\xff\xff\xff\xff\xff\xff\xff\x7f"); },
         {"number of tokens is 9223372036854775807"});
  damage([&](auto& dir) { poke(dir + shard, 24, "\x10"); }, {"vocabulary is"});
  damage([&](auto& dir) { poke(dir + shard, 40, "zz"); }, {"checksum"});
  damage([&](auto& dir) { fs::resize_file(dir + shard, 64 + 599); },
         {"has 599 bytes after its header; expected 300 tokens"});
  damage([&](auto& dir) { fs::resize_file(dir + shard, 64 + 601); }, {"has 601 bytes"});
  damage([&](auto& dir) { fs::resize_file(dir + shard, 64 + 602); }, {"has 602 bytes"});
  damage([&](auto& dir) { fs::resize_file(dir + shard, 10); }, {"10 bytes long, shorter than its header"});
  damage([&](auto& dir) { fs::remove(dir + shard); }, {"shard-00000.bin", "No such file"});
  damage([&](auto& dir) { fs::remove(dir + index); }, {"index.json", "missing"});
  damage([&](auto& dir) { fs::resize_file(dir + index, 60); }, {"index.json", "not valid JSON"});
  damage([&](auto& dir) { fs::resize_file(dir + index, 0); }, {"index.json", "not valid JSON"});
  damage([&](auto& dir) { poke(dir + shard, 64, "a"); },
         {"token 0 is 353", "outside of the vocabulary of 257"});
  damage([&](auto& dir) { poke(dir + shard, 64, std::string("a\0", 2)); },
         {"token 0 is 97; expected the end of document"});
}

TEST_F(TokenShards, AnAbsurdIndexIsRefused) {
  const auto absurd = [&](const std::string& from, const std::string& to, std::vector<std::string> parts) {
    static int count = 0;
    const auto dir = make(300, "absurd-" + std::to_string(++count));
    replace(dir + "/index.json", from, to);
    parts.push_back(dir + "/index.json");
    expect_error<InputError>(opening(dir), parts);
  };
  const auto tokens = "\"tokens\": " + std::to_string(text_->size());
  absurd("\"version\": 1", "\"version\": 3", {"version", "3"});
  absurd("\"format\": \"natrix", "\"format\": \"matrix", {"format"});
  absurd(tokens, "\"tokens\": 1e30", {"tokens", "integer"});
  absurd(tokens, "\"tokens\": -1", {"tokens", "-1"});
  absurd(tokens, "\"tokens\": 9223372036854775807", {"lack"});
  absurd(tokens, "\"tokens\": 299", {"tokens", "300", "299"});  // less than its first shard
  absurd("\"tokens\": 300", "\"tokens\": 0", {"shards[0].tokens"});
  absurd("\"eod\": 256", "\"eod\": 257", {"eod", "257"});
  absurd("\"eod\": 256,", "", {"eod", "missing"});
  absurd("\"vocab_size\": 257", "\"vocab_size\": 65537", {"vocab_size", "65536"});
  absurd("\"token_bytes\": 2", "\"token_bytes\": 3", {"token_bytes", "2 or 4"});
  absurd("\"file\": \"shard-00000.bin\"", "\"file\": \"../../etc/passwd\"", {"file", "passwd"});
  absurd("\"file\": \"shard-00000.bin\"", "\"file\": \"below/shard-00000.bin\"", {"file", "below"});
  absurd("\"file\": \"shard-00000.bin\"", "\"file\": \"..\"", {"file", "beside the index"});
  absurd("\"shards\": [", "\"shards\": [7, ", {"shards[0]", "object"});
}

TEST_F(TokenShards, RandomDamageIsAnErrorOrHarmless) {
  const auto dir = make(300);
  std::mt19937 random(5);
  int refused = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const auto path = dir + (trial % 2 == 0 ? "/index.json" : "/shard-00000.bin");
    const auto whole = read_file(path);
    auto hurt = whole;
    for (int i = 0; i < 1 + trial % 3; ++i)
      hurt[random() % std::min<size_t>(hurt.size(), 600)] = static_cast<char>(random());
    if (trial % 8 == 7) hurt.resize(random() % hurt.size());
    std::ofstream(path, std::ios::binary) << hurt;
    try {
      const auto corpus = open_corpus({dir}, *kBytes);
      read_tokens(*corpus, 0, corpus->size());
    } catch (const InputError&) {
      ++refused;
    }
    std::ofstream(path, std::ios::binary) << whole;
  }
  EXPECT_GT(refused, 100);
  EXPECT_NO_THROW(check_token_shards(dir));
}

TEST_F(TokenShards, ATokenIsCheckedWhenItIsRead) {
  const auto dir = make(300);
  poke(dir + "/shard-00001.bin", 64 + 2 * 50, "\x01\x01");  // 257
  const auto corpus = open_corpus({dir}, *kBytes);
  EXPECT_NO_THROW(read_tokens(*corpus, 0, 350));
  expect_error<InputError>([&] { read_tokens(*corpus, 340, 20); },
                           {"shard-00001.bin", "token 50 is 257", "vocabulary of 257"});
}

TEST_F(TokenShards, CheckingFindsWhatReadingDoesNot) {
  const auto dir = make(300);
  const auto path = dir + "/shard-00001.bin";
  const char first = read_file(path)[64];
  poke(path, 64, std::string(1, static_cast<char>(first ^ 1)));
  EXPECT_NO_THROW(opening(dir)());
  expect_error<InputError>([&] { check_token_shards(dir); }, {path, "checksum"});

  const auto other = make(300, "other");
  replace(other + "/index.json", "\"documents\": 9", "\"documents\": 8");
  expect_error<InputError>([&] { check_token_shards(other); }, {other, "10 ends of document", "8 documents"});
}

TEST_F(TokenShards, AnIndexOfSomebodyElseIsText) {
  scratch_.write("site/index.json", "{\"title\": \"home\"}");
  EXPECT_FALSE(is_token_shards(scratch_ / "site"));
  EXPECT_EQ(open_corpus({scratch_ / "site"}, *kBytes)->size(), 2 + 17);
}

}  // namespace
}  // namespace natrix::test
