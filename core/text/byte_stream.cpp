#include "core/text/byte_stream.h"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>
#include <vector>
#include <zlib.h>
#include <zstd.h>

#include "core/files/foreign_file.h"
#include "core/text/source_files.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int64_t kStreamBlock = int64_t{1} << 18;  // bytes read from a file at once

struct CompressedEnding {
  std::string_view ending;
  Compression compression;
};
constexpr CompressedEnding kCompressedEndings[] = {
    {".gz", Compression::kGzip}, {".zst", Compression::kZstd}, {".zstd", Compression::kZstd}};

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(const std::string& path) : file_(path) {}

  int64_t read(char* to, int64_t most) override {
    const int64_t count = std::min(most, file_.size() - at_);
    file_.read(at_, count, to);
    at_ += count;
    return count;
  }
  void skip(int64_t count) override {
    if (count > file_.size() - at_)
      throw RunError(fmt::format("{} is shorter than it was: it must not change", file_.path()));
    at_ += count;
  }
  int64_t consumed() const override { return at_; }

 private:
  SourceFile file_;
  int64_t at_ = 0;
};

/// Feeds blocks of a file to a decoder and watches how much comes out.
class CompressedStream : public ByteStream {
 public:
  explicit CompressedStream(const std::string& path)
      : file_(path), input_(static_cast<size_t>(kStreamBlock)) {
    fill();
  }

  int64_t read(char* to, int64_t most) final {
    while (!ended_) {
      if (used_ == filled_) fill();
      const int64_t count = decode(to, most);
      made_ += count;
      if (made_ > kFreeExpansion && made_ / kMostExpansion > consumed()) {
        fail(
            fmt::format("expands to more than {} times its size, as a decompression bomb does; if it is "
                        "good data, decompress it first",
                        kMostExpansion));
      }
      if (count > 0) return count;
    }
    return 0;
  }

  void skip(int64_t count) final {
    std::vector<char> ignored(static_cast<size_t>(std::min(count, kStreamBlock)));
    while (count > 0) {
      const int64_t got = read(ignored.data(), std::min(count, kStreamBlock));
      if (got == 0)
        throw RunError(fmt::format("{} is shorter than it was: it must not change", file_.path()));
      count -= got;
    }
  }

  int64_t consumed() const final { return read_ - (filled_ - used_); }

 protected:
  /// Decodes from input() into `to`. Sets ended() at the end of all data.
  virtual int64_t decode(char* to, int64_t most) = 0;

  std::string_view input() const { return {input_.data() + used_, static_cast<size_t>(filled_ - used_)}; }
  void use(size_t bytes) { used_ += static_cast<int64_t>(bytes); }
  bool at_end_of_file() const { return used_ == filled_ && read_ == file_.size(); }
  void end() { ended_ = true; }

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(fmt::format("{}, byte {}: {}", file_.path(), consumed(), what));
  }
  [[noreturn]] void fail_truncated() const {
    fail("ends in the middle of its compressed data; the copy or the download is not complete");
  }
  [[noreturn]] void fail_damaged(std::string_view format, std::string_view why) const {
    const std::string foreign = consumed() == 0 ? looks_foreign(input()) : "";
    fail(foreign.empty() ? fmt::format("is not valid {} data ({}); get the file again", format, why)
                         : foreign);
  }

 private:
  void fill() {
    filled_ = std::min(kStreamBlock, file_.size() - read_);
    file_.read(read_, filled_, input_.data());
    read_ += filled_;
    used_ = 0;
  }

  SourceFile file_;
  std::vector<char> input_;
  int64_t filled_ = 0, used_ = 0;  // bytes in input_, and how many of them are decoded
  int64_t read_ = 0, made_ = 0;    // bytes read from the file, and bytes that came out
  bool ended_ = false;
};

class GzipStream final : public CompressedStream {
 public:
  explicit GzipStream(const std::string& path) : CompressedStream(path) {
    constexpr int kGzipOnly = 16;
    if (inflateInit2(&stream_, MAX_WBITS + kGzipOnly) != Z_OK) throw RunError("cannot start zlib");
  }
  ~GzipStream() override { inflateEnd(&stream_); }

 private:
  int64_t decode(char* to, int64_t most) override {
    if (at_end_of_file()) {
      if (inside_ || consumed() == 0) fail_truncated();
      end();
      return 0;
    }
    const std::string_view in = input();
    constexpr std::string_view kMagic = "\x1f\x8b";
    if (consumed() == 0 && in.substr(0, kMagic.size()) != kMagic.substr(0, in.size()))
      fail_damaged("gzip", "incorrect header check");
    // zlib takes input without const, and does not write to it.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = static_cast<uInt>(std::min(most, kStreamBlock));
    const uInt room = stream_.avail_out;
    inside_ = true;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    use(in.size() - stream_.avail_in);
    if (result == Z_STREAM_END) {  // another member may follow
      inside_ = false;
      inflateReset(&stream_);
    } else if (result == Z_MEM_ERROR) {
      throw RunError("zlib is out of memory");
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail_damaged("gzip", stream_.msg != nullptr ? stream_.msg : "zlib gives no reason");
    }
    return room - stream_.avail_out;
  }

  z_stream stream_ = {};
  bool inside_ = false;  // a member has begun and not ended
};

class ZstdStream final : public CompressedStream {
 public:
  explicit ZstdStream(const std::string& path) : CompressedStream(path), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) throw RunError("cannot start zstd");
  }
  ~ZstdStream() override { ZSTD_freeDStream(stream_); }

 private:
  int64_t decode(char* to, int64_t most) override {
    const bool no_more = at_end_of_file();
    if (no_more && !inside_) {
      if (consumed() == 0) fail_truncated();
      end();
      return 0;
    }
    const std::string_view input_now = input();
    ZSTD_inBuffer in = {input_now.data(), input_now.size(), 0};
    ZSTD_outBuffer out = {to, static_cast<size_t>(most), 0};
    const size_t result = ZSTD_decompressStream(stream_, &out, &in);
    use(in.pos);
    if (ZSTD_isError(result) != 0) {
      // Frames that need more than 128 MiB of memory (zstd --long=28 and more) are refused by the library.
      fail_damaged("zstd", ZSTD_getErrorName(result));
    }
    inside_ = result != 0;
    if (no_more && out.pos == 0) fail_truncated();
    return static_cast<int64_t>(out.pos);
  }

  ZSTD_DStream* stream_;
  bool inside_ = false;  // a frame has begun and not ended, or has more to give
};

}  // namespace

Compression compression_of(const std::string& path) {
  for (const CompressedEnding& e : kCompressedEndings) {
    if (path.ends_with(e.ending)) return e.compression;
  }
  return Compression::kNone;
}

std::string without_compression(const std::string& path) {
  for (const CompressedEnding& e : kCompressedEndings) {
    if (path.ends_with(e.ending)) return path.substr(0, path.size() - e.ending.size());
  }
  return path;
}

std::unique_ptr<ByteStream> open_byte_stream(const std::string& path) {
  switch (compression_of(path)) {
    case Compression::kGzip: return std::make_unique<GzipStream>(path);
    case Compression::kZstd: return std::make_unique<ZstdStream>(path);
    case Compression::kNone: break;
  }
  return std::make_unique<PlainStream>(path);
}

}  // namespace natrix
