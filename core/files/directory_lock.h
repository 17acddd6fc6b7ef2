// DirectoryLock: one process at a time writes a directory.
#pragma once

#include <string>

namespace natrix {

/// Held until destruction or the end of the process, however that ends; nothing is left on the disk.
class DirectoryLock {
 public:
  DirectoryLock() = default;
  /// InputError naming `what` (the key or flag that chose the directory) where another process holds it. A
  /// file system that has no locks is taken as it is.
  DirectoryLock(const std::string& path, const std::string& what);
  ~DirectoryLock();
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;

 private:
  int fd_ = -1;
};

}  // namespace natrix
