// DirectoryLock: ensures that only one process at a time writes to a directory.
#pragma once

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
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;

 private:
  int fd_ = -1;
};

}  // namespace natrix
