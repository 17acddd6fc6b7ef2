#include "core/files/output_path.h"

#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <system_error>
#include <unistd.h>

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as many as the kernel follows
constexpr const char* kAnotherPath = "give another path";

[[noreturn]] void refuse_output(const std::string& path, std::string_view why,
                                std::string_view remedy = kAnotherPath) {
  throw OutputPathError(fmt::format("cannot write {}: {}; {}", path.empty() ? "\"\"" : path, why, remedy));
}

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

bool exists_as_link(const std::string& path) {
  struct stat status = {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
}

/// Links in /proc only describe a descriptor. Their text is not a path that can be followed.
bool lies_in_proc(const std::string& path) {
  struct statfs system = {};
  return ::statfs(parent_of(path).c_str(), &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
}

/// The end of a chain of links, or the first path of the chain that is in /proc.
std::string end_of_links(const std::string& path) {
  fs::path at = path;
  for (int links = 0; links <= kMostLinks; ++links) {
    if (!exists_as_link(at) || lies_in_proc(at)) return at;
    at = fs::path(parent_of(at)) / fs::read_symlink(at);
  }
  refuse_output(path, "it is a loop of symbolic links");
}

/// "it is", or the same with the target of a link.
std::string subject_of(const std::string& path, const std::string& end) {
  return path == end ? "it is" : fmt::format("it is a link to {}, which is", end);
}

/// Requires that the directory of `end` exists.
void require_parent(const std::string& path, const std::string& end) {
  const std::string parent = parent_of(end);
  struct stat status = {};
  if (::stat(parent.c_str(), &status) == 0) {
    if (!S_ISDIR(status.st_mode)) refuse_output(path, fmt::format("{} is not a directory", parent));
    return;
  }
  refuse_output(path,
                fmt::format("{}{}: {}", path == end ? "" : fmt::format("it is a link to {}; ", end),
                            error_text(errno), parent),
                "make that directory first, or give another path");
}

OutputPath descriptor_output(const std::string& path, const std::string& end) {
  std::error_code error;
  const fs::path own = fs::canonical("/proc/self/fd", error), here = fs::canonical(parent_of(end), error);
  const std::string name = fs::path(end).filename();
  int number = -1;
  std::from_chars(name.data(), name.data() + name.size(), number);
  if (error || here != own || number < 0) {
    refuse_output(path, fmt::format("{} in /proc, where natrix writes nothing but its own descriptors",
                                    subject_of(path, end)));
  }
  const int flags = ::fcntl(number, F_GETFL);
  if (flags < 0) refuse_output(path, fmt::format("descriptor {} is not open", number));
  struct stat status = {};
  const bool found = ::fstat(number, &status) == 0;
  if ((flags & O_ACCMODE) == O_RDONLY || !found || S_ISBLK(status.st_mode)) {
    refuse_output(path, fmt::format("descriptor {} is not open for writing", number));
  }
  return {.kind = OutputPath::Kind::kDescriptor, .directory = {}, .name = path, .descriptor = number};
}

OutputPath stream_output(const std::string& path, const struct stat& status) {
  if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) refuse_output(path, error_text(errno));
  const bool is_null = S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
  return {.kind = is_null ? OutputPath::Kind::kNull : OutputPath::Kind::kStream,
          .directory = {},
          .name = path,
          .descriptor = -1};
}

/// Finds faults that would otherwise show only at the final rename.
void require_replaceable(const std::string& path, const std::string& end) {
  struct statx file = {};
  if (::statx(AT_FDCWD, end.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &file) != 0) return;
  if ((file.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0) {
    refuse_output(path, fmt::format("{} a mount point, which cannot be replaced", subject_of(path, end)));
  }
  if ((file.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) != 0) {
    refuse_output(path, fmt::format("{} an immutable file", subject_of(path, end)));
  }
  struct stat parent = {};
  const bool sticky = ::stat(parent_of(end).c_str(), &parent) == 0 && (parent.st_mode & S_ISVTX) != 0;
  const uid_t user = ::geteuid();
  if (sticky && user != 0 && user != file.stx_uid && user != parent.st_uid) {
    refuse_output(path, fmt::format("{} another user's file in a directory where only its owner may "
                                    "replace it",
                                    subject_of(path, end)));
  }
}

}  // namespace

OutputPath resolve_output(const std::string& path) {
  struct stat status = {};
  if (path.empty()) refuse_output(path, "the path is empty", "name a file");
  const int error = ::stat(path.c_str(), &status) == 0 ? 0 : errno;
  const mode_t mode = error == 0 ? status.st_mode : 0;
  if (error == ELOOP) refuse_output(path, "it is a loop of symbolic links");
  if (S_ISDIR(mode)) refuse_output(path, "it is a directory", "name a file in it");
  const std::string end = end_of_links(path);
  if (lies_in_proc(end)) return descriptor_output(path, end);
  if (S_ISSOCK(mode)) refuse_output(path, fmt::format("{} a socket", subject_of(path, end)));
  if (S_ISBLK(mode)) refuse_output(path, fmt::format("{} a block device", subject_of(path, end)));
  if (S_ISFIFO(mode) || S_ISCHR(mode)) return stream_output(path, status);
  if (error != 0) require_parent(path, end);
  if (error != 0 && error != ENOENT) refuse_output(path, error_text(error));
  const std::string name = fs::path(end).filename();
  if (name.empty() || name == "." || name == "..") {
    refuse_output(path, "it names a directory", "name a file in it");
  }
  if (error == 0) require_replaceable(path, end);
  return {.kind = OutputPath::Kind::kFile, .directory = parent_of(end), .name = name, .descriptor = -1};
}

std::string follow_links(const std::string& path) {
  std::string end = end_of_links(path);
  if (end != path) require_parent(path, end);
  return end;
}

bool is_same_file(const OutputPath& a, const OutputPath& b) {
  constexpr auto kFile = OutputPath::Kind::kFile;
  std::error_code ignored;
  return a.kind == kFile && b.kind == kFile && a.name == b.name &&
         fs::equivalent(a.directory, b.directory, ignored);
}

void check_output_directory(const std::string& flag, const std::string& path) {
  std::string at = path;
  struct stat status = {};
  int error = 0;
  while ((error = ::stat(at.c_str(), &status) == 0 ? 0 : errno) == ENOENT) {
    const bool dangles = exists_as_link(at);
    if (dangles || parent_of(at) == at) break;
    at = parent_of(at);
  }
  if (error == 0 && !S_ISDIR(status.st_mode)) error = ENOTDIR;
  if (error == 0 && ::faccessat(AT_FDCWD, at.c_str(), W_OK | X_OK, AT_EACCESS) != 0) error = errno;
  if (error == 0) return;
  throw InputError(fmt::format("{} {}: cannot be written: {}{}; choose a directory that can be written", flag,
                               path, error_text(error), at == path ? "" : ": " + at));
}

bool is_fault_of_path(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
    case ENAMETOOLONG:
    case EEXIST:
    case EOPNOTSUPP:
    case ENXIO:
    case EINVAL: return true;  // a name that the file system does not accept
    default: return false;
  }
}

std::string error_text(int error) {
  return std::generic_category().message(error);
}

}  // namespace natrix
