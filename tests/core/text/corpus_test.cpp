#include "core/text/corpus.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;

TEST(Corpus, IsTheDocumentsWithSeparatorsAroundThem) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 30; ++trial) {
    const ScratchDir scratch;
    auto documents = random_documents(random, 1 + trial % 7, trial % 3 == 0 ? 2 : 300);
    documents[random() % documents.size()] += "x";  // not all of them empty
    const auto corpus = open_corpus({write_documents(scratch, "texts", documents)}, *kBytes);
    const auto expected = expected_tokens(documents);
    ASSERT_EQ(corpus->size(), static_cast<int64_t>(expected.size()));
    EXPECT_EQ(corpus->documents(), static_cast<int64_t>(documents.size()));
    EXPECT_EQ(read_tokens(*corpus, 0, corpus->size()), expected);

    for (int i = 0; i < 50; ++i) {
      const auto begin = static_cast<size_t>(random() % expected.size());
      const auto count = static_cast<size_t>(random() % (expected.size() - begin + 1));
      std::vector<int64_t> tokens(count);
      std::vector<uint8_t> starts(count, 9);
      corpus->read(static_cast<int64_t>(begin), static_cast<int64_t>(count), tokens.data(), starts.data());
      int64_t bytes = 0;
      for (size_t t = 0; t < count; ++t) {
        ASSERT_EQ(tokens[t], expected[begin + t]);
        ASSERT_EQ(starts[t], expected[begin + t] == 256 ? 1 : 0);
        bytes += expected[begin + t] == 256 ? 0 : 1;
      }
      EXPECT_EQ(corpus->text_bytes(static_cast<int64_t>(begin), static_cast<int64_t>(count)), bytes);
    }
  }
}

TEST(Corpus, WithoutEndOfDocumentIsTheDocumentsAlone) {
  const ScratchDir scratch;
  const auto dir = write_documents(scratch, "texts", {"", "ab", "", "", "c", "def", ""});
  const auto corpus = open_corpus({dir}, *make_tokenizer("bytes", 256));
  ASSERT_EQ(corpus->size(), 6);
  std::vector<int64_t> tokens(6);
  std::vector<uint8_t> starts(6);
  corpus->read(0, 6, tokens.data(), starts.data());
  EXPECT_EQ(tokens, (std::vector<int64_t>{'a', 'b', 'c', 'd', 'e', 'f'}));
  EXPECT_EQ(starts, (std::vector<uint8_t>{1, 0, 1, 1, 0, 0}));
  corpus->read(4, 2, tokens.data(), starts.data());
  EXPECT_EQ(starts[0], 0);
  EXPECT_EQ(corpus->text_bytes(1, 4), 4);
}

TEST(Corpus, ListsADirectoryInOrderWithoutHiddenFiles) {
  const ScratchDir scratch;
  scratch.write("d/b/2", "2");
  scratch.write("d/b/10", "1");
  scratch.write("d/a", "0");
  scratch.write("d/.hidden", "X");
  scratch.write("d/.git/config", "X");
  scratch.write("d/c.txt", "3");
  const auto single = scratch.write("e", "4");
  const auto hidden = scratch.write(".named", "5");
  fs::create_symlink(scratch / "gone", scratch / "d/.broken-link");
  fs::create_directory_symlink(scratch / "d", scratch / "d/.git/loop");
  ::mkfifo((scratch / "d/.pipe").c_str(), 0600);
  const auto corpus = open_corpus({scratch / "d", single, hidden}, *kBytes);
  EXPECT_EQ(read_tokens(*corpus, 0, corpus->size()), expected_tokens({"0", "1", "2", "3", "4", "5"}));
}

TEST(Corpus, FollowsLinks) {
  const ScratchDir scratch;
  scratch.write("elsewhere/b", "1");
  scratch.write("elsewhere/sub/c", "2");
  scratch.write("elsewhere/.hidden", "X");
  scratch.write("single", "3");
  scratch.write("d/a", "0");
  fs::create_directory_symlink("../elsewhere", scratch / "d/more");
  fs::create_symlink("../single", scratch / "d/one");
  fs::create_directory_symlink("more/sub", scratch / "d/twice");  // what is reached twice counts twice
  fs::create_directory_symlink(scratch / "d", scratch / "link-to-d");
  for (const std::string dir : {"d", "d/", "link-to-d"}) {
    const auto corpus = open_corpus({scratch / dir}, *kBytes);
    EXPECT_EQ(read_tokens(*corpus, 0, corpus->size()), expected_tokens({"0", "1", "2", "3", "2"})) << dir;
  }
}

TEST(Corpus, NamesWhatInADirectoryIsNoDocument) {
  const ScratchDir scratch;
  const auto expect_refused = [&](const std::string& name, std::vector<std::string> parts) {
    scratch.write(name + "/a", "text");
    parts.insert(parts.end(), {"PATH: " + scratch / name, "begins with a dot"});
    expect_error<InputError>([&] { open_corpus({scratch / name}, *kBytes, "PATH"); }, parts);
  };
  fs::create_directories(scratch / "broken/sub");
  fs::create_symlink("../../gone", scratch / "broken/sub/x");
  expect_refused("broken", {scratch / "broken/sub/x, a link to ../../gone, leads nowhere"});
  fs::create_directories(scratch / "up/sub");
  fs::create_directory_symlink("..", scratch / "up/sub/loop");
  expect_refused("up", {scratch / "up/sub/loop, a link to .., leads back"});
  fs::create_directories(scratch / "self");
  fs::create_directory_symlink(".", scratch / "self/loop");
  expect_refused("self", {scratch / "self/loop, a link to ., leads back"});
  fs::create_directories(scratch / "ring");
  fs::create_symlink("two", scratch / "ring/one");
  fs::create_symlink("one", scratch / "ring/two");
  expect_refused("ring", {", a link to ", "cannot be read"});
  fs::create_directories(scratch / "mutual/x");
  fs::create_directories(scratch / "mutual/y");
  fs::create_directory_symlink("../y", scratch / "mutual/x/to-y");
  fs::create_directory_symlink("../x", scratch / "mutual/y/to-x");
  expect_refused("mutual", {"to-", "leads back"});
  fs::create_directories(scratch / "pipes");
  ::mkfifo((scratch / "pipes/p").c_str(), 0600);
  expect_refused("pipes", {scratch / "pipes/p is a named pipe"});
  fs::create_directories(scratch / "devices");
  fs::create_symlink("/dev/null", scratch / "devices/null");
  expect_refused("devices", {scratch / "devices/null, a link to /dev/null, is a device"});
}

TEST(Corpus, ReadsMoreFilesThanItKeepsOpen) {
  const ScratchDir scratch;
  std::mt19937 random(2);
  const auto documents = random_documents(random, 700, 20);
  const auto dir = write_documents(scratch, "many", documents);
  const auto open_descriptors = [] {
    const fs::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const auto before = open_descriptors();
  const auto corpus = open_corpus({dir}, *kBytes);
  EXPECT_EQ(read_tokens(*corpus, 0, corpus->size()), expected_tokens(documents));
  EXPECT_LE(open_descriptors() - before, 300);
}

TEST(Corpus, PositionsPass32Bits) {
  const ScratchDir scratch;
  const auto big = scratch.write("a", "");
  fs::resize_file(big, (uint64_t{1} << 32) + 5);  // sparse
  const auto corpus = open_corpus({big, scratch.write("b", "xyz")}, *kBytes);
  const int64_t second = (int64_t{1} << 32) + 6;
  EXPECT_EQ(corpus->size(), second + 5);
  EXPECT_EQ(read_tokens(*corpus, second - 1, 6), (std::vector<int64_t>{0, 256, 'x', 'y', 'z', 256}));
}

TEST(Corpus, NamesThePathThatCannotBeUsed) {
  const ScratchDir scratch;
  const auto open = [](std::vector<std::string> paths) {
    return [paths] { open_corpus(paths, *kBytes, "data.eval"); };
  };
  expect_error<InputError>(open({}), {"data.eval", "names no files"});
  expect_error<InputError>(open({scratch / "gone"}), {"data.eval", scratch / "gone", "does not exist"});
  fs::create_symlink("gone", scratch / "link");
  expect_error<InputError>(open({scratch / "link"}),
                           {"data.eval", scratch / "link, a link to gone, leads nowhere"});
  expect_error<InputError>(open({scratch.write("empty", "")}), {"data.eval", scratch / "empty", "no text"});
  expect_error<InputError>(open({scratch / "empty/below"}), {scratch / "empty/below", "does not exist"});
  expect_error<InputError>(open({std::string(300, 'x')}), {"data.eval", "File name too long"});
  fs::create_directory(scratch / "dir");
  expect_error<InputError>(open({scratch / "dir"}), {"data.eval", scratch / "dir", "no files"});
  scratch.write("hollow/a", "");
  scratch.write("hollow/b", "");
  expect_error<InputError>(open({scratch / "hollow"}), {scratch / "hollow", "no text", "2 file(s)"});
  ::mkfifo((scratch / "pipe").c_str(), 0600);
  expect_error<InputError>(open({scratch / "pipe"}), {scratch / "pipe", "not a regular file", "save it"});
  if (::geteuid() != 0) {  // root may read everything
    const auto secret = scratch.write("secret", "x");
    fs::permissions(secret, fs::perms::none);
    expect_error<InputError>(open({secret}), {secret, "Permission denied"});
  }
}

TEST(Corpus, SaysThatAFileShrankUnderIt) {
  const ScratchDir scratch;
  const auto path = scratch.write("text", std::string(100, 'a'));
  const auto corpus = open_corpus({path}, *kBytes);
  fs::resize_file(path, 40);
  EXPECT_EQ(read_tokens(*corpus, 1, 40), std::vector<int64_t>(40, 'a'));
  expect_error<RunError>([&] { read_tokens(*corpus, 1, 41); }, {path, "byte 40", "must not change"});
}

TEST(Corpus, SaysThatAFileThatIsNotKeptOpenChangedOrWent) {
  const ScratchDir scratch;
  const auto dir = write_documents(scratch, "many", std::vector<std::string>(300, "abc"));
  const auto corpus = open_corpus({dir}, *kBytes);
  const auto last = dir + "/10299.txt";
  const auto read_all = [&] { read_tokens(*corpus, 0, corpus->size()); };
  EXPECT_NO_THROW(read_all());
  scratch.write("many/10299.txt", "abcdef");
  expect_error<RunError>(read_all, {last, "has 6 bytes, but had 3", "must not change"});
  fs::remove(last);
  expect_error<InputError>(read_all, {last, "No such file"});
}

TEST(Corpus, SaysWhatItIsReadFrom) {
  const ScratchDir scratch;
  const auto dir = write_documents(scratch, "d", {"abc", ""});
  const auto files = open_corpus({dir, scratch.write("e", "x")}, *kBytes)->files();
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[0].path, dir + "/10000.txt");
  EXPECT_EQ(files[0].size, 3);
  EXPECT_EQ(files[2].path, scratch / "e");
  EXPECT_EQ(files[2].checksum, "");
}

}  // namespace
}  // namespace natrix::test
