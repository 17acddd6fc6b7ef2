// The identity of data, and the description of differences.
#include "core/text/data_identity.h"

#include <sys/stat.h>

#include "core/text/token_shards.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;

DataIdentity identity_at(const std::vector<std::string>& paths, int64_t hashed = 0) {
  return identify(open_corpus(paths, *kBytes)->files(), paths, hashed);
}

class DataIdentityTest : public testing::Test {
 protected:
  DataIdentityTest() {
    scratch_.write("d/a.txt", std::string(8000, 'a'));
    scratch_.write("d/sub/b.txt", std::string(100, 'b'));
    scratch_.write("d/sub/c.txt", "c");
    before_ = identity_at({dir_});
  }
  std::string now(const std::vector<std::string>& paths) const {
    return difference(before_, identity_at(paths, before_.hashed));
  }

  ScratchDir scratch_;
  std::string dir_ = scratch_ / "d";
  DataIdentity before_;
};

TEST_F(DataIdentityTest, IsThatOfTheContentWhereverItLies) {
  EXPECT_EQ(before_.count, 3);
  EXPECT_EQ(before_.bytes, 8101);
  ASSERT_EQ(before_.files.size(), 3u);
  EXPECT_EQ(before_.files[1].name, "sub/b.txt");
  EXPECT_EQ(before_.files[1].size, 100);
  EXPECT_GT(before_.files[1].modified, 0);
  fs::last_write_time(dir_ + "/a.txt", fs::file_time_type::clock::now() - std::chrono::hours(5));
  EXPECT_EQ(now({dir_}), "");
  EXPECT_EQ(now({dir_ + "/"}), "");
  EXPECT_EQ(now({dir_ + "/a.txt", dir_ + "/sub"}), "");
  fs::copy(dir_, scratch_ / "copy", fs::copy_options::recursive);
  EXPECT_EQ(now({scratch_ / "copy"}), "");
  fs::rename(scratch_ / "copy/a.txt", scratch_ / "copy/renamed");
  EXPECT_EQ(now({scratch_ / "copy/renamed", scratch_ / "copy/sub"}), "");
}

TEST_F(DataIdentityTest, NamesTheFilesThatDiffer) {
  fs::resize_file(dir_ + "/a.txt", 2000);
  EXPECT_EQ(now({dir_}), "a.txt is 2000 bytes, was 8000");
  scratch_.write("d/a.txt", std::string(7999, 'a') + "b");
  EXPECT_EQ(now({dir_}), "a.txt has other content in as many bytes (8000)");
  scratch_.write("d/a.txt", std::string(8000, 'a'));
  scratch_.write("d/new.txt", "new");
  EXPECT_EQ(now({dir_}), "new.txt is new");
  fs::remove(dir_ + "/sub/c.txt");
  EXPECT_EQ(now({dir_}), "new.txt is new; sub/c.txt is gone");
  fs::remove_all(dir_ + "/sub");
  scratch_.write("d/x", "x");
  scratch_.write("d/y", "y");
  EXPECT_EQ(now({dir_}), "new.txt is new; x is new; y is new; and 2 more");
}

TEST_F(DataIdentityTest, MindsTheOrder) {
  // Named one by one, as names are below the paths that are given.
  const std::vector<std::string> one = {dir_ + "/a.txt", dir_ + "/sub/b.txt"}, other = {one[1], one[0]};
  EXPECT_EQ(difference(identity_at(one), identity_at(other)), "the same files are read in another order");
}

TEST(DataIdentity, ReadsBothEndsOfALargeFile) {
  const ScratchDir scratch;
  const auto path = scratch.write("big", "");
  const int64_t size = int64_t{5} << 20;
  fs::resize_file(path, static_cast<uint64_t>(size));
  const auto before = identity_at({path});
  const auto after_change_at = [&](int64_t offset) {
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(offset).write("x", 1);
    const auto line = difference(before, identity_at({path}, before.hashed));
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(offset).write("\0", 1);
    return line;
  };
  EXPECT_EQ(before.hashed, 1 << 20);
  EXPECT_NE(after_change_at(0), "");
  EXPECT_NE(after_change_at((1 << 20) - 1), "");
  EXPECT_EQ(after_change_at(1 << 20), "");  // what lies between costs too much
  EXPECT_NE(after_change_at(size - (1 << 20)), "");
  EXPECT_NE(after_change_at(size - 1), "");
}

TEST(DataIdentity, OfVeryManyFilesIsADigest) {
  const ScratchDir scratch;
  std::vector<std::string> documents(kMostListedFiles + 5, "abc");
  const auto dir = write_documents(scratch, "many", documents);
  const auto before = identity_at({dir});
  EXPECT_TRUE(before.files.empty());
  EXPECT_EQ(before.count, 1005);
  EXPECT_EQ(difference(before, identity_at({dir}, before.hashed)), "");
  scratch.write("many/10700.txt", "abd");
  EXPECT_EQ(difference(before, identity_at({dir}, before.hashed)),
            "1005 files of 3015 bytes, as before, but with other content");
  fs::remove(dir + "/10700.txt");
  EXPECT_EQ(difference(before, identity_at({dir}, before.hashed)),
            "1004 files of 3012 bytes, were 1005 files of 3015 bytes");
}

TEST(DataIdentity, OfTokenShardsIsThatOfTheirIndex) {
  const ScratchDir scratch;
  const auto make = [&](const std::string& text, const std::string& name) {
    const auto corpus = open_corpus({scratch.write("text", text)}, *kBytes);
    write_token_shards(*corpus, *kBytes, {"text"}, scratch / name, 100);
    return identity_at({scratch / name});
  };
  const auto before = make(std::string(250, 'a'), "one");
  ASSERT_EQ(before.files.size(), 3u);
  EXPECT_EQ(before.files[2].name, "shard-00002.bin");
  EXPECT_EQ(difference(before, make(std::string(250, 'a'), "same")), "");
  EXPECT_EQ(difference(before, make(std::string(249, 'a') + "b", "other")),
            "shard-00002.bin has other content in as many bytes (168)");
}

}  // namespace
}  // namespace natrix::test
