// SourceFiles: regular files that are read at any offset, by any thread.
//
// pread and not mmap: a corpus may have more files than a process may map (65,530 by default), and a file
// that shrinks under a running training is then an error with a name, not a SIGBUS.
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

/// What is known of a file that data are read from.
struct DataFile {
  std::string path;
  int64_t size = 0;      // bytes, when it was opened
  std::string checksum;  // of its content, where it is written down somewhere; else empty
};

/// Any number of files. The first few stay open; the others are opened for each read, since descriptors are
/// scarce.
class SourceFiles {
 public:
  void add(SourceFile file);

  size_t count() const { return files_.size(); }
  const std::string& path(size_t index) const { return files_[index].path; }
  const std::vector<DataFile>& all() const { return files_; }
  /// RunError where the file is gone, or no longer has the size that it had.
  void read(size_t index, int64_t offset, int64_t count, void* to) const;

 private:
  std::vector<DataFile> files_;
  std::vector<SourceFile> open_;  // the first of them
};

}  // namespace natrix
