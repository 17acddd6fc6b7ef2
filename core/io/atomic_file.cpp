#include "core/io/atomic_file.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <system_error>
#include <unistd.h>

#include "kernels/base/check.h"

namespace natrix {
namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

void sync_path(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (fd < 0) throw RunError(fmt::format("cannot open {} to sync it: {}", path, reason(errno)));
  const int failed = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // EINVAL: some network file systems cannot sync a directory; there is nothing better to do on them.
  if (failed != 0 && error != EINVAL) {
    throw RunError(fmt::format("cannot sync {}: {}; what was written may not survive a power failure", path,
                               reason(error)));
  }
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), aside_(path_ + ".tmp") {
  fd_ = ::open(aside_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail(errno);
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::reserve(int64_t bytes) {
  if (bytes == 0) return;
  int error = 0;
  do {
    error = ::fallocate(fd_, 0, 0, bytes) == 0 ? 0 : errno;
  } while (error == EINTR);
  // A file system without preallocation is not a failure: writing will tell.
  if (error != 0 && error != EOPNOTSUPP && error != ENOSYS) fail(error);
}

void AtomicFile::write_at(int64_t offset, const void* data, int64_t bytes) {
  require(fd_ >= 0, "write to a committed file");
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(fd_, from, static_cast<size_t>(bytes), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    if (written == 0) fail(EIO);
    from += written;
    offset += written;
    bytes -= written;
  }
}

void AtomicFile::commit() {
  require(fd_ >= 0, "commit of a committed file");
  if (::fsync(fd_) != 0) fail(errno);
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) fail(errno);
  if (std::rename(aside_.c_str(), path_.c_str()) != 0) fail(errno);
  aside_.clear();
  const auto directory = std::filesystem::path(path_).parent_path().string();
  sync_directory(directory.empty() ? "." : directory);
}

void AtomicFile::fail(int error) {
  discard();
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw RunError(fmt::format("cannot write {}: {}{}", path_, reason(error),
                             full ? "; make room there and run the command again" : ""));
}

void AtomicFile::discard() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  if (!aside_.empty()) ::unlink(aside_.c_str());
  aside_.clear();
}

void write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write_at(0, text.data(), static_cast<int64_t>(text.size()));
  file.commit();
}

void sync_directory(const std::string& path) {
  sync_path(path, O_DIRECTORY);
}
void sync_file(const std::string& path) {
  sync_path(path, 0);
}

}  // namespace natrix
