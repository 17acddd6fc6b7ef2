// SourceFiles: regular files that any thread may read at any offset.
//
// Files are read with pread, not mapped. A corpus may have more files than a process may map (65,530
// by default). And if a file becomes shorter during training, the result is an error that names it,
// not a SIGBUS.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace natrix {

class SourceFile {
 public:
  /// InputError if `path` is not a regular file that this user may read.
  explicit SourceFile(std::string path);
  ~SourceFile();
  SourceFile(SourceFile&& other) noexcept;
  SourceFile& operator=(SourceFile&&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }  // when it was opened
  /// RunError if the file ends before offset + count, or cannot be read.
  void read(int64_t offset, int64_t count, void* to) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

/// A file that data are read from.
struct DataFile {
  std::string path;
  int64_t size = 0;      // bytes, when it was opened
  std::string checksum;  // of its content, if one is stored with the data; else empty
};

/// Any number of files. The first few stay open. The others are opened for each read, because file
/// descriptors are limited.
class SourceFiles {
 public:
  void add(SourceFile file);

  size_t count() const { return files_.size(); }
  const std::string& path(size_t index) const { return files_[index].path; }
  const std::vector<DataFile>& all() const { return files_; }
  /// RunError if the file is gone or its size has changed.
  void read(size_t index, int64_t offset, int64_t count, void* to) const;

 private:
  std::vector<DataFile> files_;
  std::vector<SourceFile> open_;  // the first files
};

}  // namespace natrix
