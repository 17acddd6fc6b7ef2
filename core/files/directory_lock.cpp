#include "core/files/directory_lock.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

#include "configs/schema/paths.h"
#include "kernels/base/check.h"

namespace natrix {

DirectoryLock::DirectoryLock(const std::string& path, const std::string& what) {
  if (take(path)) return;
  throw InputError(
      fmt::format("{} {}: another natrix is writing there; wait for it, stop it, or choose another directory",
                  what, shown_path(path)));
}

std::optional<DirectoryLock> DirectoryLock::if_free(const std::string& path) {
  DirectoryLock lock;
  if (!lock.take(path)) return std::nullopt;
  return lock;
}

/// False if another process holds the lock.
bool DirectoryLock::take(const std::string& path) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0 || ::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return true;
  ::close(std::exchange(fd_, -1));
  return false;
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

}  // namespace natrix
