// DirectoryLock: ensures that only one process at a time writes to a directory.
#pragma once

#include <optional>
#include <string>

namespace natrix {

/// Held until destruction or the end of the process, however it ends. Leaves nothing on the disk.
class DirectoryLock {
 public:
  DirectoryLock() = default;
  /// InputError if another process holds the lock. The message names `what`, the key or flag that chose the
  /// directory. On a file system without locks nothing is locked.
  DirectoryLock(const std::string& path, const std::string& what);
  ~DirectoryLock();
  /// The lock, or nothing while another process holds it.
  static std::optional<DirectoryLock> if_free(const std::string& path);
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;

 private:
  bool take(const std::string& path);

  int fd_ = -1;
};

}  // namespace natrix
