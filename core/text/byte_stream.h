// ByteStream: the bytes of a file from front to back. Files whose names end in .gz, .zst or .zstd are
// decompressed on the way: any number of gzip members or zstd frames, one after another.
//
// Compressed files that expand without measure end in an error, before memory or the disk is full: see
// kMostExpansion.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace natrix {

enum class Compression { kNone, kGzip, kZstd };

Compression compression_of(const std::string& path);
/// The path without .gz, .zst or .zstd.
std::string without_compression(const std::string& path);

/// Text compresses to a fifth, repetitive logs to a hundredth. A file may become this many times its size.
inline constexpr int64_t kMostExpansion = 250;
/// A small file may become as large as this in any case.
inline constexpr int64_t kFreeExpansion = int64_t{64} << 20;

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Reads at least one and up to `most` bytes; 0 at the end. InputError names the file and the offset in it
  /// where compressed data are damaged, truncated, or expand too far.
  virtual int64_t read(char* to, int64_t most) = 0;
  /// Leaves out the next `count` bytes. RunError if the stream is shorter.
  virtual void skip(int64_t count) = 0;
  /// How many bytes of the file itself have been read.
  virtual int64_t consumed() const = 0;
};

/// InputError if the file cannot be read, or is not what its name says.
std::unique_ptr<ByteStream> open_byte_stream(const std::string& path);

}  // namespace natrix
