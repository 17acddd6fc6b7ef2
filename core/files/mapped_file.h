// MappedFile: a whole regular file, mapped read-only.
//
// If another process shortens the file while it is mapped, this process ends with SIGBUS. Natrix's own
// writers never do that: they replace a file by renaming a new one over it (atomic_file.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace natrix {

class MappedFile {
 public:
  /// InputError if the path is not a regular file that this user may read; RunError if the machine fails.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const char* data() const { return data_; }
  int64_t size() const { return size_; }
  std::string_view text() const { return {data_, static_cast<size_t>(size_)}; }

 private:
  const char* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace natrix
