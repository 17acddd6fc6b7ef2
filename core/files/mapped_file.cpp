#include "core/files/mapped_file.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "kernels/base/check.h"

namespace natrix {
namespace {

[[noreturn]] void fail(const std::string& path, int error) {
  const std::string message = fmt::format("cannot read {}: {}", path, std::generic_category().message(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case ELOOP:
    case ENAMETOOLONG: throw InputError(message);
    default: throw RunError(message);
  }
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  // O_NONBLOCK: opening a pipe must end in the message below, not wait for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(path, errno);
  struct stat status = {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    throw InputError(fmt::format("cannot read {}: it is {}, expected a file", path,
                                 S_ISDIR(status.st_mode) ? "a directory" : "not a regular file"));
  }
  size_ = status.st_size;
  if (size_ > 0) {  // mmap refuses empty ranges
    void* map = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    ::close(fd);
    if (map == MAP_FAILED) fail(path, error);
    data_ = static_cast<const char*>(map);
  } else {
    ::close(fd);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), static_cast<size_t>(size_));
}

}  // namespace natrix
