#include "core/text/source_files.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr size_t kKeptOpen = 256;  // of the 1,024 descriptors that a process usually has
constexpr const char* kMustNotChange = "it must not change while it is in use";

std::string reason(int error) {
  return std::generic_category().message(error);
}

[[noreturn]] void fail_open(const std::string& path, int error) {
  const auto text = fmt::format("cannot read {}: {}", path, reason(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case ELOOP:
    case ENAMETOOLONG: throw InputError(text);
    default: throw RunError(text);
  }
}

}  // namespace

SourceFile::SourceFile(std::string path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe must end in the message below, not wait for a writer.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail_open(path_, errno);
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw InputError(
        fmt::format("{} is not a regular file: its size must be known; save it to a file first", path_));
  }
  size_ = status.st_size;
}

SourceFile::~SourceFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

SourceFile::SourceFile(SourceFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

void SourceFile::read(int64_t offset, int64_t count, void* to) const {
  auto* out = static_cast<char*>(to);
  while (count > 0) {
    const ssize_t got = ::pread(descriptor_, out, static_cast<size_t>(count), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw RunError(fmt::format("cannot read {} at byte {}: {}", path_, offset, reason(errno)));
    if (got == 0) {
      struct stat status = {};
      const bool known = ::fstat(descriptor_, &status) == 0 && status.st_size < offset;
      throw RunError(fmt::format("{} ends at byte {}, but had {} bytes when the program started: {}", path_,
                                 known ? int64_t{status.st_size} : offset, size_, kMustNotChange));
    }
    out += got;
    offset += got;
    count -= got;
  }
}

void SourceFiles::add(SourceFile file) {
  files_.push_back({.path = file.path(), .size = file.size(), .checksum = {}});
  if (open_.size() < kKeptOpen) open_.push_back(std::move(file));
}

void SourceFiles::read(size_t index, int64_t offset, int64_t count, void* to) const {
  if (index < open_.size()) return open_[index].read(offset, count, to);
  const DataFile& known = files_[index];
  const SourceFile again(known.path);
  if (again.size() != known.size) {
    throw RunError(fmt::format("{} has {} bytes, but had {} when the program started: {}", known.path,
                               again.size(), known.size, kMustNotChange));
  }
  again.read(offset, count, to);
}

}  // namespace natrix
