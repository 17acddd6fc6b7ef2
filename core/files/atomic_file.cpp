#include "core/files/atomic_file.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <random>
#include <sys/stat.h>
#include <unistd.h>

#include "core/files/write_through.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

void sync_path(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  // A directory that can be written but not read cannot be synced. That is not an error.
  if (fd < 0 && errno == EACCES && (flags & O_DIRECTORY) != 0) return;
  if (fd < 0) throw RunError(fmt::format("cannot open {} to sync it: {}", path, error_text(errno)));
  const int failed = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // EINVAL: some network file systems cannot sync a directory. That is not an error.
  if (failed != 0 && error != EINVAL) {
    throw RunError(fmt::format("cannot sync {}: {}; what was written may not survive a power failure", path,
                               error_text(error)));
  }
}

std::string proc_name(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

/// Opens an unnamed file. −1 if the file system has none, or if it could not be named later.
int open_nameless(int directory) {
  const int fd = ::openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  if (fd < 0 || ::access(proc_name(fd).c_str(), F_OK) == 0) return fd;
  ::close(fd);
  return -1;
}

/// NAME.<8 hex digits>.tmp, cut where that is more than a name may have.
std::string name_beside(std::string name) {
  constexpr size_t kMostName = 255, kEnding = 13;
  if (name.size() > kMostName - kEnding) {
    size_t end = kMostName - kEnding;
    while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;  // a character's start
    name.resize(end);
  }
  std::random_device random;
  return fmt::format("{}.{:08x}.tmp", name, random());
}

std::string advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return "; make room there and run the command again";
    case EPIPE: return ": its reader has gone away before the end";
    default: return is_fault_of_path(error) ? "; give another path" : "";
  }
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), to_(resolve_output(path_)) {
  to_.kind == OutputPath::Kind::kFile ? open_beside() : open_spool();
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::open_beside() {
  directory_ = ::open(to_.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory_ < 0) fail(errno);
  fd_ = open_nameless(directory_);
  if (fd_ < 0) open_named();
}

void AtomicFile::open_named() {
  do {
    aside_ = name_beside(to_.name);
    fd_ = ::openat(directory_, aside_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ >= 0) return;
  const int error = errno;
  aside_.clear();
  fail(error);
}

void AtomicFile::open_spool() {
  if (to_.kind == OutputPath::Kind::kNull) {
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) fail(errno);
    return;
  }
  out_ = to_.kind == OutputPath::Kind::kDescriptor
             ? ::fcntl(to_.descriptor, F_DUPFD_CLOEXEC, 0)
             : open_stream(path_, [&] {
                 std::fputs(fmt::format("natrix: {} is a pipe that nobody reads; waiting\n", path_).c_str(),
                            stderr);
               });
  if (out_ < 0 && errno == ETIMEDOUT) {
    throw OutputPathError(
        fmt::format("cannot write {}: nobody reads this pipe; start its reader first", path_));
  }
  if (out_ < 0) fail(errno);
  std::error_code error;
  folder_ = std::filesystem::temp_directory_path(error).string();
  if (error) {
    folder_ = "that TMPDIR names";
    fail(error.value());
  }
  fd_ = open_temporary(folder_);
  if (fd_ < 0) fail(errno);
}

void AtomicFile::reserve(int64_t bytes) {
  if (bytes == 0 || to_.kind == OutputPath::Kind::kNull) return;
  int error = 0;
  do {
    error = ::fallocate(fd_, 0, 0, bytes) == 0 ? 0 : errno;
  } while (error == EINTR);
  // A file system without preallocation is not a failure. Writing shows whether there is space.
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
  switch (to_.kind) {
    case OutputPath::Kind::kNull: break;
    case OutputPath::Kind::kFile: replace(); break;
    default: send();
  }
  discard();
  if (to_.kind == OutputPath::Kind::kFile) sync_directory(to_.directory);
}

void AtomicFile::replace() {
  keep_attributes();
  if (::fsync(fd_) != 0) fail(errno);
  if (aside_.empty() && !link_beside()) {
    // Some file systems create unnamed files but cannot name them later.
    const int nameless = fd_;
    fd_ = -1;
    open_named();
    const int error = copy_all(nameless, fd_);
    ::close(nameless);
    if (error != 0) fail(error);
    keep_attributes();
    if (::fsync(fd_) != 0) fail(errno);
  }
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) fail(errno);
  if (::renameat(directory_, aside_.c_str(), directory_, to_.name.c_str()) != 0) fail(errno);
  aside_.clear();
}

bool AtomicFile::link_beside() {
  int error = 0;
  do {
    aside_ = name_beside(to_.name);
    const auto from = proc_name(fd_);
    error = ::linkat(AT_FDCWD, from.c_str(), directory_, aside_.c_str(), AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
  } while (error == EEXIST);
  if (error != 0) aside_.clear();
  return error == 0;
}

/// Copies permissions and owner of the file that is replaced. A failure here must not lose the new file.
void AtomicFile::keep_attributes() {
  struct stat old = {}, now = {};
  if (::fstatat(directory_, to_.name.c_str(), &old, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (!S_ISREG(old.st_mode)) fail(EEXIST, "something that is not a file has taken its place");
  if (::fstat(fd_, &now) != 0) return;
  [[maybe_unused]] int kept = 0;  // a user may not give a file away
  if (old.st_gid != now.st_gid) kept = ::fchown(fd_, static_cast<uid_t>(-1), old.st_gid);
  if (old.st_uid != now.st_uid) kept = ::fchown(fd_, old.st_uid, static_cast<gid_t>(-1));
  kept = ::fchmod(fd_, old.st_mode & 0777);
}

void AtomicFile::send() {
  folder_.clear();
  const int error = copy_all(fd_, out_);
  const int closed = ::close(out_) == 0 ? 0 : errno;
  out_ = -1;
  if (error != 0 || closed != 0) fail(error != 0 ? error : closed);
}

void AtomicFile::fail(int error, const std::string& why) {
  discard();
  const std::string reason = why.empty() ? error_text(error) : why;
  if (!folder_.empty()) {
    throw RunError(
        fmt::format("cannot write {}: what goes there is kept in the temporary directory {} first: {}; make "
                    "room there, or let TMPDIR name a directory that can be written",
                    path_, folder_, reason));
  }
  const std::string message = fmt::format("cannot write {}: {}{}", path_, reason, advice(error));
  if (is_fault_of_path(error)) throw OutputPathError(message);
  throw RunError(message);
}

void AtomicFile::discard() noexcept {
  if (fd_ >= 0) ::close(fd_);
  if (!aside_.empty()) ::unlinkat(directory_, aside_.c_str(), 0);
  if (directory_ >= 0) ::close(directory_);
  if (out_ >= 0) ::close(out_);
  fd_ = directory_ = out_ = -1;
  aside_.clear();
}

std::unique_ptr<const AtomicFile> check_output(const std::string& flag, const std::string& path) {
  try {
    return std::make_unique<const AtomicFile>(path);
  } catch (const OutputPathError& e) {
    throw InputError(fmt::format("{}: {}", flag, e.what()));
  }
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
