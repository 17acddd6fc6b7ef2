// Files of tests: a directory of their own, and what is in a file.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <stdlib.h>  // mkdtemp
#include <string>
#include <string_view>

namespace natrix::test {

/// Overwrites; directories on the way are made.
inline void write_file(const std::string& path, std::string_view bytes) {
  if (const auto parent = std::filesystem::path(path).parent_path(); !parent.empty()) {
    std::filesystem::create_directories(parent);
  }
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

/// Nothing, where there is no file (yet).
inline std::string read_file_if_any(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string read_file(const std::string& path) {
  if (!std::filesystem::exists(path)) throw std::runtime_error("no file " + path);
  return read_file_if_any(path);
}

/// A fresh directory, removed with all its content at the end.
class ScratchDir {
 public:
  ScratchDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "natrix-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = pattern;
  }
  ~ScratchDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// Returns the file's path.
  std::string write(std::string_view name, std::string_view bytes) const {
    write_file(*this / name, bytes);
    return *this / name;
  }

 private:
  std::string path_;
};

}  // namespace natrix::test
