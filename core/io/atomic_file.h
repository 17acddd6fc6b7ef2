// AtomicFile: a file that appears under its name complete or not at all.
//
// The bytes go to PATH.tmp; commit() syncs it, renames it to PATH and syncs the directory. Any failure (no
// space, a read-only or failing disk) is a RunError naming the path and the reason, and PATH.tmp is removed;
// an earlier file under PATH stays as it was. A process killed half-way leaves
// only PATH.tmp, which the next writer overwrites.
//
// A write past RLIMIT_FSIZE raises SIGXFSZ before it fails: programs ignore that signal to get the RunError.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace natrix {

class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& path() const { return path_; }
  /// Takes the disk space of the whole file now, so that a full disk
  /// shows before hours of work and not after.
  void reserve(int64_t bytes);
  void write_at(int64_t offset, const void* data, int64_t bytes);
  void commit();

 private:
  [[noreturn]] void fail(int error);
  void discard() noexcept;

  std::string path_, aside_;
  int fd_ = -1;
};

/// A whole small file at once.
void write_file(const std::string& path, std::string_view text);

/// Makes the names in a directory (files created, renamed, removed) survive a power failure.
void sync_directory(const std::string& path);
/// Makes a file's bytes survive a power failure.
void sync_file(const std::string& path);

}  // namespace natrix
