#include "core/text/data_identity.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <sys/stat.h>

#include "core/files/xxhash64.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostOfAnEnd = 1 << 20, kLeastOfAnEnd = 4096;  // bytes
constexpr int64_t kMostRead = 256 << 20;  // of all files together: a fraction of a second
constexpr int64_t kMostReadFiles = 10'000;
constexpr size_t kMostNamed = 3;  // in a message

/// The names of files below the paths that stand for them; both are in the same order.
class NamesBelow {
 public:
  explicit NamesBelow(const std::vector<std::string>& paths) : paths_(paths) {}

  std::string next(const std::string& file) {
    for (size_t at = at_; at < paths_.size(); ++at) {
      const std::string& path = paths_[at];
      if (file.size() <= path.size() || !file.starts_with(path)) continue;
      if (path.back() != '/' && file[path.size()] != '/') continue;
      at_ = at;
      return file.substr(path.size() + (path.back() == '/' ? 0 : 1));
    }
    return fs::path(file).filename().string();
  }

 private:
  const std::vector<std::string>& paths_;
  size_t at_ = 0;  // of the path that the last file lies below
};

std::string hash_ends(const DataFile& known, int64_t end) {
  const SourceFile file(known.path);
  const int64_t size = std::min(file.size(), known.size);
  Xxhash64 hash;
  std::vector<char> bytes(static_cast<size_t>(std::min(end, size)));
  const auto here = static_cast<int64_t>(bytes.size());
  for (const int64_t first :
       {int64_t{0}, std::max(size - here, here)}) {  // the second may be short, or empty
    const int64_t count = std::min(here, size - first);
    file.read(first, count, bytes.data());
    hash.add(bytes.data(), count);
  }
  return hash.hex();
}

int64_t modified_at(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return 0;
  return int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

std::string sizes_in_words(const DataIdentity& data) {
  return fmt::format("{} file{} of {} bytes", data.count, data.count == 1 ? "" : "s", data.bytes);
}

/// One line for each file that is new, gone or another.
std::vector<std::string> changes_of_files(const DataIdentity& before, const DataIdentity& now) {
  std::map<std::string, const IdentifiedFile*> known;
  for (const auto& file : before.files) known[file.name] = &file;
  std::vector<std::string> changes;
  for (const auto& file : now.files) {
    const auto at = known.find(file.name);
    if (at == known.end()) {
      changes.push_back(fmt::format("{} is new", file.name));
      continue;
    }
    const IdentifiedFile& was = *at->second;
    if (was.size != file.size) {
      changes.push_back(fmt::format("{} is {} bytes, was {}", file.name, file.size, was.size));
    } else if (was.hash != file.hash) {
      changes.push_back(fmt::format("{} has other content in as many bytes ({})", file.name, file.size));
    }
    known.erase(at);
  }
  for (const auto& [name, file] : known) changes.push_back(fmt::format("{} is gone", name));
  return changes;
}

}  // namespace

DataIdentity identify(const std::vector<DataFile>& files, const std::vector<std::string>& paths,
                      int64_t hashed) {
  const auto count = static_cast<int64_t>(files.size());
  DataIdentity data{.count = count, .bytes = 0, .hashed = hashed, .digest = {}, .files = {}};
  const int64_t read_files = std::clamp(count, int64_t{1}, kMostReadFiles);
  if (hashed == 0) data.hashed = std::clamp(kMostRead / 2 / read_files, kLeastOfAnEnd, kMostOfAnEnd);
  const int64_t every = (count + kMostReadFiles - 1) / kMostReadFiles;
  const bool listed = files.size() <= kMostListedFiles;
  NamesBelow names(paths);
  Xxhash64 digest;
  for (int64_t i = 0; i < count; ++i) {
    const DataFile& file = files[static_cast<size_t>(i)];
    std::string hash = file.checksum;
    if (hash.empty() && i % every == 0) hash = hash_ends(file, data.hashed);
    digest.add(fmt::format("{} {}\n", file.size, hash));
    data.bytes += file.size;
    if (listed) data.files.push_back({names.next(file.path), file.size, modified_at(file.path), hash});
  }
  data.digest = digest.hex();
  return data;
}

std::string difference(const DataIdentity& before, const DataIdentity& now) {
  if (before.count == now.count && before.bytes == now.bytes && before.digest == now.digest) return "";
  if (before.files.empty() || now.files.empty()) {
    if (before.count != now.count || before.bytes != now.bytes)
      return fmt::format("{}, were {}", sizes_in_words(now), sizes_in_words(before));
    return fmt::format("{}, as before, but with other content", sizes_in_words(now));
  }
  const std::vector<std::string> changes = changes_of_files(before, now);
  if (changes.empty()) return "the same files are read in another order";
  std::string line;
  for (size_t i = 0; i < std::min(changes.size(), kMostNamed); ++i) line += (i > 0 ? "; " : "") + changes[i];
  if (changes.size() > kMostNamed) line += fmt::format("; and {} more", changes.size() - kMostNamed);
  return line;
}

}  // namespace natrix
