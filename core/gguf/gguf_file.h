// GgufFile: a GGUF file, mapped read-only, with typed access to its metadata.
//
// The header is checked as a whole first (gguf_header.h). Texts and tensors are views into the file's bytes and
// live as long as this object. Every error is an InputError with the file and the byte, key or tensor at fault.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/mapped_file.h"
#include "core/gguf/gguf_header.h"

namespace natrix {

class GgufFile {
 public:
  /// Maps the file and checks its header. RunError if the machine fails.
  explicit GgufFile(const std::string& path);
  /// The same for bytes in memory, which must live as long as this object. `origin` names them in errors.
  GgufFile(std::string_view bytes, std::string origin);

  const std::string& origin() const { return origin_; }
  uint32_t version() const { return header_.version; }
  const GgufHeader::Metadata& metadata() const { return header_.metadata; }
  const GgufHeader::Tensors& tensors() const { return header_.tensors; }
  /// InputError if there is no such tensor.
  const GgufTensor& tensor(const std::string& name) const;

  bool has(std::string_view key) const { return header_.metadata.contains(key); }
  /// Single values. Without a fallback the key must be present. With one, a key that is present must still be
  /// valid. An integer may have any integer type; a number f32 or f64, and must be finite.
  int64_t integer(const std::string& key, int64_t least, int64_t most,
                  std::optional<int64_t> fallback = {}) const;
  double number(const std::string& key, double least, double most, std::optional<double> fallback = {}) const;
  bool boolean(const std::string& key, std::optional<bool> fallback = {}) const;
  std::string_view text(const std::string& key, std::optional<std::string_view> fallback = {}) const;

  /// Arrays. The key must be present. Memory is at most eight times the array's bytes in the file.
  std::vector<int64_t> integers(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;
  std::vector<std::string_view> texts(const std::string& key) const;
  /// The bytes of an array of u8.
  std::string_view bytes(const std::string& key) const;
  /// An array of `count` integers, or one integer that stands for all of them, as layers' sizes are written.
  std::vector<int64_t> integers_for(const std::string& key, int64_t count, int64_t least, int64_t most) const;

  /// Throws InputError that names the key, its value and what was expected.
  [[noreturn]] void fail(const std::string& key, std::string_view expected) const;

 private:
  const GgufValue& at(const std::string& key) const;

  std::unique_ptr<MappedFile> file_;  // null for bytes in memory
  std::string origin_;
  GgufHeader header_;
};

/// Whether a path is read as a GGUF file and not as a directory: it ends in ".gguf".
bool is_gguf_path(std::string_view path);

}  // namespace natrix
