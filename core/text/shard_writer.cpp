// Writes token shards to a temporary directory and renames it, so a directory of shards is complete or
// has no index.
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

#include "core/files/atomic_file.h"
#include "core/files/directory_lock.h"
#include "core/files/xxhash64.h"
#include "core/text/token_shards.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInside = ".natrix-partial";  // hidden: nothing reads it as a text
constexpr const char* kIndex = "index.json";

bool is_ours(const fs::directory_entry& entry) {
  const auto name = entry.path().filename().string();
  std::error_code ignored;
  return (name.starts_with("shard-") || name.starts_with(kIndex)) &&
         entry.symlink_status(ignored).type() == fs::file_type::regular;
}

/// Whether a directory contains anything except `left`. A directory that cannot be read counts as not empty.
bool is_empty_but_for(const fs::path& dir, const std::string& left) {
  std::error_code error;
  for (fs::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename() != left) return false;
  }
  return !error;
}

/// Where the shards go: `dir` itself with all links followed, new or an empty directory.
struct ShardPlace {
  fs::path dir, partial;
  bool exists = false;
};

/// Without what a trailing "/" or "/." adds.
std::string trimmed(std::string dir) {
  while (dir.size() > 1 && (dir.ends_with('/') || dir.ends_with("/."))) dir.pop_back();
  return dir;
}

ShardPlace place_of(const std::string& given) {
  ShardPlace place;
  try {
    place.dir = follow_links(trimmed(given));
  } catch (const OutputPathError& e) {
    throw InputError(fmt::format("--out: {}", e.what()));
  }
  std::error_code error;
  const fs::file_type type = fs::status(place.dir, error).type();
  place.exists = type != fs::file_type::not_found;
  if (type == fs::file_type::none || (!place.exists && place.dir.filename() == "..")) {
    throw InputError(fmt::format("--out: cannot write {}: {}; give another path", given, error.message()));
  }
  if (place.exists && (type != fs::file_type::directory || !is_empty_but_for(place.dir, kInside))) {
    throw InputError(
        fmt::format("{} exists and is not an empty directory; give another --out, or remove it", given));
  }
  place.partial = place.exists ? place.dir / kInside : fs::path(place.dir.string() + ".partial");
  const fs::file_type found = fs::symlink_status(place.partial, error).type();
  if (found == fs::file_type::none) {
    throw InputError(fmt::format("--out: cannot write {}: {}; give another path", place.partial.string(),
                                 error.message()));
  }
  if (found != fs::file_type::not_found && found != fs::file_type::directory) {
    throw InputError(fmt::format("{} is in the way and is not a directory; remove it, or give another --out",
                                 place.partial.string()));
  }
  check_output_directory("--out", place.exists ? place.dir.string() : place.partial.string());
  return place;
}

/// The directory that shards are written to until commit(). If `dir` does not exist, this is `dir`.partial,
/// which commit() renames to `dir`. If it exists, this is a directory inside it, whose files commit() moves
/// up, the index last. An existing directory may be a mount point or somebody's current directory, and keeps
/// its permissions. Only files with natrix's own names are ever removed.
class PartialDirectory {
 public:
  explicit PartialDirectory(const std::string& dir) : place_(place_of(dir)) {
    std::error_code error;
    made_.push_back(path());
    for (fs::path at = path().parent_path(); !at.empty() && !fs::exists(at, error); at = at.parent_path()) {
      made_.push_back(at);
    }
    fs::create_directories(path(), error);
    if (error) {
      undo();
      const auto text = fmt::format("cannot make the directory {}: {}; give another --out", path().string(),
                                    error.message());
      if (is_fault_of_path(error.value())) throw InputError(text);
      throw RunError(text);
    }
    lock_ = DirectoryLock(path().string(), "--out");
    clear();  // removes files of an earlier run that was killed
    if (!fs::is_empty(path(), error)) {
      throw InputError(fmt::format("{} is in the way and holds other files; remove it", path().string()));
    }
  }
  ~PartialDirectory() {
    clear();
    undo();
  }
  PartialDirectory(const PartialDirectory&) = delete;
  PartialDirectory& operator=(const PartialDirectory&) = delete;

  std::string file(const std::string& name) const { return (path() / name).string(); }

  void commit() {
    std::error_code error;
    place_.exists ? move_up(error) : fs::rename(path(), place_.dir, error);
    if (error) {
      throw RunError(
          fmt::format("cannot rename {} to {}: {}", path().string(), place_.dir.string(), error.message()));
    }
    made_.clear();
    const fs::path changed = place_.exists ? place_.dir : place_.dir.parent_path();
    sync_directory(changed.empty() ? "." : changed.string());
  }

 private:
  const fs::path& path() const { return place_.partial; }

  void move_up(std::error_code& error) {
    std::vector<fs::path> names;
    for (fs::directory_iterator at(path(), error), end; !error && at != end; at.increment(error)) {
      names.push_back(at->path().filename());
    }
    std::sort(names.begin(), names.end(), [](const fs::path& a, const fs::path& b) {
      return std::pair(a == kIndex, a) < std::pair(b == kIndex, b);
    });
    for (size_t i = 0; i < names.size() && !error; ++i) {
      fs::rename(path() / names[i], place_.dir / names[i], error);
    }
    if (!error) fs::remove(path(), error);
  }

  void clear() noexcept {
    std::error_code error;
    for (fs::directory_iterator at(path(), error), end; !error && at != end; at.increment(error)) {
      std::error_code ignored;  // if a file stays, a later writer reports it
      if (is_ours(*at)) fs::remove(at->path(), ignored);
    }
  }

  /// Removes the directories that this run created, each only if it is empty.
  void undo() noexcept {
    for (const fs::path& made : made_) ::rmdir(made.c_str());
  }

  ShardPlace place_;
  std::vector<fs::path> made_;  // innermost first
  DirectoryLock lock_;
};

/// Tokens [begin, begin + count) of the corpus as one file.
ShardEntry write_shard(const Corpus& corpus, const ShardSummary& summary, int64_t begin, int64_t count,
                       const std::string& path, const TokensDone& progress) {
  constexpr int64_t kTokensAtOnce = 1 << 20;
  const int64_t width = summary.token_bytes;
  std::vector<int64_t> tokens(static_cast<size_t>(std::min(count, kTokensAtOnce)));
  std::vector<unsigned char> stored(tokens.size() * static_cast<size_t>(width));
  AtomicFile file(path);
  file.reserve(int64_t{sizeof(ShardHeader)} + count * width);
  Xxhash64 hash;
  for (int64_t done = 0; done < count; done += kTokensAtOnce) {
    const int64_t here = std::min(count - done, kTokensAtOnce);
    corpus.read(begin + done, here, tokens.data(), nullptr);
    narrow_tokens(tokens.data(), width, here, stored.data());
    hash.add(stored.data(), here * width);
    file.write_at(int64_t{sizeof(ShardHeader)} + done * width, stored.data(), here * width);
    progress(here);
  }
  ShardEntry shard{path, count, hash.hex(), ""};
  const ShardHeader header = make_header(shard, summary);
  file.write_at(0, &header, sizeof header);
  file.commit();
  return shard;
}

/// The marks of tokens [begin, begin + count) as one file. Returns its hash.
std::string write_marks(const Corpus& corpus, int64_t begin, int64_t count, const std::string& path) {
  constexpr int64_t kMarksAtOnce = 1 << 20;
  std::vector<int64_t> tokens(static_cast<size_t>(std::min(count, kMarksAtOnce)));
  std::vector<uint8_t> starts(tokens.size()), marks(tokens.size());
  AtomicFile file(path);
  Xxhash64 hash;
  for (int64_t done = 0; done < count; done += kMarksAtOnce) {
    const int64_t here = std::min(count - done, kMarksAtOnce);
    corpus.read(begin + done, here, tokens.data(), starts.data());
    corpus.read_loss(begin + done, here, marks.data());
    for (size_t i = 0; i < static_cast<size_t>(here); ++i)
      marks[i] =
          static_cast<uint8_t>((starts[i] != 0 ? kStartsDocument : 0) | (marks[i] != 0 ? kIsLearnt : 0));
    hash.add(marks.data(), here);
    file.write_at(done, marks.data(), here);
  }
  file.commit();
  return hash.hex();
}

}  // namespace

void check_shard_output(const std::string& dir) {
  place_of(dir);
}

ShardSummary write_token_shards(const Corpus& corpus, const Tokenizer& tokenizer,
                                const std::vector<std::string>& sources, const std::string& dir,
                                int64_t shard_tokens, const TokensDone& progress) {
  require(corpus.eod() == tokenizer.eod() && corpus.eod() != kNoEod, "token shards need separators");
  require(shard_tokens > 0, "a shard of no tokens");
  PartialDirectory out(dir);
  ShardIndex index;
  index.summary = {.tokenizer = tokenizer.name(),
                   .tokenizer_identity = tokenizer.identity(),
                   .vocab_size = tokenizer.vocab_size(),
                   .eod = tokenizer.eod(),
                   .token_bytes = token_bytes_for(tokenizer.vocab_size()),
                   .tokens = corpus.size(),
                   .documents = corpus.documents(),
                   .text_bytes = corpus.text_bytes(0, corpus.size()),
                   .marked = corpus.masks_loss()};
  for (int64_t begin = 0; begin < corpus.size(); begin += shard_tokens) {
    const int64_t count = std::min(shard_tokens, corpus.size() - begin);
    const auto path = out.file(fmt::format("shard-{:05}.bin", index.shards.size()));
    index.shards.push_back(write_shard(corpus, index.summary, begin, count, path, progress));
    if (index.summary.marked)
      index.shards.back().marks_xxh3 = write_marks(corpus, begin, count, marks_path(path));
  }
  index.summary.shards = static_cast<int64_t>(index.shards.size());
  write_shard_index(out.file(kIndex), index, sources);
  out.commit();
  return index.summary;
}

}  // namespace natrix
