#include "core/text/byte_stream.h"

#include "tests/core/compression.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

std::string read_all(ByteStream& stream, int64_t at_once = 1000) {
  std::string text, block(static_cast<size_t>(at_once), '\0');
  while (const int64_t got = stream.read(block.data(), at_once))
    text.append(block, 0, static_cast<size_t>(got));
  return text;
}

std::string read_file_of(const ScratchDir& scratch, const std::string& name, const std::string& content) {
  return read_all(*open_byte_stream(scratch.write(name, content)));
}

TEST(ByteStream, GivesTheSameBytesOfEveryFormat) {
  const ScratchDir scratch;
  std::mt19937 random(1);
  for (const int64_t size : {0, 1, 999, 70'000, 3'000'000}) {
    const std::string text = random_bytes(random, size);
    EXPECT_EQ(read_file_of(scratch, "a.txt", text), text);
    EXPECT_EQ(read_file_of(scratch, "a.gz", gzip(text)), text);
    EXPECT_EQ(read_file_of(scratch, "a.zst", zstd(text)), text);
    EXPECT_EQ(read_file_of(scratch, "a.zstd", zstd(text)), text);
  }
}

TEST(ByteStream, ReadsMembersAndFramesOneAfterAnother) {
  const ScratchDir scratch;
  const std::string part(5000, 'x');
  EXPECT_EQ(read_file_of(scratch, "a.gz", gzip("one ") + gzip("") + gzip(part)), "one " + part);
  EXPECT_EQ(read_file_of(scratch, "a.zst", zstd("one ") + zstd("") + zstd(part)), "one " + part);
}

TEST(ByteStream, Skips) {
  const ScratchDir scratch;
  std::mt19937 random(2);
  const std::string text = random_bytes(random, 600'000);
  for (const auto& [name, content] :
       {std::pair("a", text), std::pair("a.gz", gzip(text)), std::pair("a.zst", zstd(text))}) {
    const auto stream = open_byte_stream(scratch.write(name, content));
    stream->skip(599'990);
    EXPECT_EQ(read_all(*stream), text.substr(599'990)) << name;
    EXPECT_EQ(stream->consumed(), static_cast<int64_t>(content.size()));
    EXPECT_THROW(open_byte_stream(scratch / name)->skip(600'001), RunError);
  }
}

TEST(ByteStream, FaultsNameTheFileAndTheByte) {
  const ScratchDir scratch;
  std::mt19937 random(3);
  const std::string text = random_bytes(random, 400'000);
  const auto expect_fault = [&](const std::string& name, const std::string& content,
                                const std::vector<std::string>& parts) {
    expect_error<InputError>([&] { read_file_of(scratch, name, content); }, parts);
  };
  for (const auto& [name, whole] : {std::pair("a.gz", gzip(text)), std::pair("a.zst", zstd(text))}) {
    const auto n = whole.size();
    for (const size_t size : {size_t{3}, n / 2, n - 1})
      expect_fault(name, whole.substr(0, size),
                   {scratch / name + ", byte " + std::to_string(size), "ends in the middle"});
    expect_fault(name, "", {scratch / name, "byte 0", "ends in the middle"});
    expect_fault(name, "plain text", {scratch / name, "byte 0", "is not valid"});
    expect_fault(name, whole + "and more", {scratch / name, "is not valid"});
    expect_fault(name, "version https://git-lfs.github.com/spec/v1\n", {scratch / name, "Git LFS"});
  }
  std::string damaged = gzip(text);
  damaged[damaged.size() - 6] ^= 1;  // of the checksum at the end
  expect_fault("a.gz", damaged, {"a.gz, byte", "is not valid gzip data", "incorrect data check"});
}

TEST(ByteStream, StopsAtABombAndReadsRepetitiveText) {
  const ScratchDir scratch;
  const std::string zeros(200 << 20, '\0');
  for (const auto& [name, content] : {std::pair("a.gz", gzip(zeros)), std::pair("a.zst", zstd(zeros))})
    expect_error<InputError>([&] { read_file_of(scratch, name, content); }, {name, "decompression bomb"});
  const std::string small(kFreeExpansion, 'a');
  EXPECT_EQ(read_file_of(scratch, "b.zst", zstd(small)).size(), small.size());
}

}  // namespace
}  // namespace natrix::test
