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

/// Any number of files. The first few stay open;
/// the others are opened for each read, since descriptors are scarce.
class SourceFiles {
 public:
  /// Returns the file's size; opening it here shows early that it can be read.
  int64_t add(std::string path);

  size_t count() const { return paths_.size(); }
  const std::string& path(size_t index) const { return paths_[index]; }
  void read(size_t index, int64_t offset, int64_t count, void* to) const;

 private:
  std::vector<std::string> paths_;
  std::vector<SourceFile> open_;  // of the first paths
};

}  // namespace natrix
