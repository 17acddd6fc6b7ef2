#include "core/text/document_list.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <utility>

#include "core/text/token_shards.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

const char* kind_of(fs::file_type type) {
  switch (type) {
    case fs::file_type::fifo: return "a named pipe";
    case fs::file_type::socket: return "a socket";
    case fs::file_type::block:
    case fs::file_type::character: return "a device";
    default: return "neither a file nor a directory";
  }
}

/// "PATH", or "PATH, a link to TARGET,".
std::string with_target(const fs::path& path) {
  std::error_code error;
  const fs::path target = fs::read_symlink(path, error);
  return error ? path.string() : fmt::format("{}, a link to {},", path.string(), target.string());
}

/// Collects the files below one directory.
class DocumentWalk {
 public:
  explicit DocumentWalk(const std::string& key) : key_(key) {}

  std::vector<std::string> files_below(const std::string& directory) {
    enter(directory);
    std::sort(files_.begin(), files_.end());
    return std::move(files_);
  }

 private:
  using Identity = std::pair<dev_t, ino_t>;

  void enter(const fs::path& directory) {
    inside_.push_back(identity_of_directory(directory));
    try {
      for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
        if (!entry.path().filename().string().starts_with('.')) visit(entry);
      }
    } catch (const fs::filesystem_error& error) {
      throw InputError(
          fmt::format("{}: cannot list {}: {}", key_, directory.string(), error.code().message()));
    }
    inside_.pop_back();
  }

  void visit(const fs::directory_entry& entry) {
    const fs::path& path = entry.path();
    std::error_code error;
    const fs::file_type type = entry.status(error).type();  // follows links
    if (type == fs::file_type::regular) {
      files_.push_back(path.string());
    } else if (type == fs::file_type::directory) {
      if (is_token_shards(path.string())) fail_mixed_shards(key_, path.string());
      refuse_circle(path);
      enter(path);
    } else if (type == fs::file_type::not_found) {
      throw InputError(fmt::format("{}: {} leads nowhere: {}", key_, with_target(path), kRemedy));
    } else if (error) {
      throw InputError(
          fmt::format("{}: {} cannot be read ({}): {}", key_, with_target(path), error.message(), kRemedy));
    } else {
      throw InputError(
          fmt::format("{}: {} is {}, not a document: {}", key_, with_target(path), kind_of(type), kRemedy));
    }
  }

  /// Reports a directory inside itself: a link leads back to one of the directories above.
  void refuse_circle(const fs::path& path) const {
    if (std::find(inside_.begin(), inside_.end(), identity_of_directory(path)) == inside_.end()) return;
    throw InputError(fmt::format("{}: {} leads back to a directory that it lies in: {}", key_,
                                 with_target(path), kRemedy));
  }

  Identity identity_of_directory(const fs::path& path) const {
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0) {
      const std::error_code error(errno, std::generic_category());
      throw InputError(fmt::format("{}: cannot read {}: {}", key_, path.string(), error.message()));
    }
    return {status.st_dev, status.st_ino};
  }

  static constexpr const char* kRemedy =
      "put it right, remove it, or give it a name that begins with a dot, which is left out";

  const std::string& key_;
  std::vector<Identity> inside_;  // the directories from the first one down to here
  std::vector<std::string> files_;
};

}  // namespace

void fail_mixed_shards(const std::string& key, const std::string& shards) {
  throw InputError(
      fmt::format("{}: {} holds token shards, which cannot be mixed with other paths; give their directory "
                  "alone, or make one directory of all sources with natrix data",
                  key, shards));
}

std::vector<std::string> list_documents(const std::vector<std::string>& paths, const std::string& key) {
  std::vector<std::string> files;
  for (const auto& path : paths) {
    std::error_code error;
    const auto status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) {
      throw InputError(
          fmt::format("{}: {} {}", key, with_target(path),
                      fs::is_symlink(fs::symlink_status(path, error)) ? "leads nowhere" : "does not exist"));
    }
    if (error) throw InputError(fmt::format("{}: cannot read {}: {}", key, path, error.message()));
    if (!fs::is_directory(status)) {
      files.push_back(path);
      continue;
    }
    if (is_token_shards(path)) fail_mixed_shards(key, path);
    const auto below = DocumentWalk(key).files_below(path);
    if (below.empty()) {
      throw InputError(fmt::format("{}: there are no files below {} (hidden ones do not count)", key, path));
    }
    files.insert(files.end(), below.begin(), below.end());
  }
  return files;
}

}  // namespace natrix
