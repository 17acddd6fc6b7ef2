// Writing GGUF files, version 3: the metadata and the table first, then the tensors one by one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/gguf/gguf_types.h"

namespace natrix {

/// Entries of the metadata in the order of the calls. A key may be added once.
class GgufMetadata {
 public:
  void u32(std::string_view key, int64_t value);
  void f32(std::string_view key, double value);
  void boolean(std::string_view key, bool value);
  void text(std::string_view key, std::string_view value);
  void bytes(std::string_view key, std::string_view values);  // an array of u8
  void i32s(std::string_view key, const std::vector<int32_t>& values);
  void u32s(std::string_view key, const std::vector<int64_t>& values);
  void texts(std::string_view key, const std::vector<std::string>& values);

  int64_t count() const { return static_cast<int64_t>(keys_.size()); }
  const std::string& encoded() const { return encoded_; }
  const std::vector<std::string>& keys() const { return keys_; }

 private:
  void begin(std::string_view key, GgufValueType type);
  void begin_array(std::string_view key, GgufValueType element, size_t count);

  std::string encoded_;
  std::vector<std::string> keys_;
};

struct GgufEntry {
  std::string name;
  GgufType type = GgufType::kF32;
  std::vector<int64_t> extents;  // the contiguous dimension first
};

/// Writes through an AtomicFile: the file appears complete or not at all. RunError on any I/O failure. Tensors
/// begin at multiples of 32 bytes, and are written in the order of `layout`.
class GgufWriter {
 public:
  GgufWriter(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufEntry>& layout);
  /// The next bytes of the next tensor; calls may split a tensor anywhere.
  void append(const void* data, int64_t bytes);
  /// Checks that every tensor is complete.
  void commit();

 private:
  AtomicFile file_;
  std::vector<std::pair<int64_t, int64_t>> ranges_;  // begin and end of each tensor in the file
  size_t tensor_ = 0;
  int64_t at_ = 0, end_ = 0;
};

}  // namespace natrix
