#include "core/text/token_cache.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <optional>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "configs/schema/paths.h"
#include "core/files/directory_lock.h"
#include "core/files/xxhash64.h"
#include "core/report/progress.h"
#include "core/text/cache_writer.h"
#include "core/text/data_identity.h"
#include "core/text/token_shards.h"
#include "core/text/tokenise.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr int kCacheVersion = 1;  // of what the same texts become

int64_t modified_time(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return 0;
  return int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

/// Both ends of a file are hashed. Of a file that has more between them, the time of its last change counts
/// too.
std::string cache_key(const std::vector<TextFile>& files, const TextReader& reader) {
  const Tokenizer& tokenizer = reader.tokenizer;
  std::vector<DataFile> sources;
  sources.reserve(files.size());
  for (const TextFile& file : files)
    sources.push_back({.path = file.path, .size = file.size, .checksum = {}});
  const DataIdentity content = identify(sources, {});
  Xxhash64 hash;
  hash.add(fmt::format("{} {} {} {} {}\n", kCacheVersion, tokenizer.identity(), tokenizer.vocab_size(),
                       tokenizer.eod(), content.digest));
  for (const TextFile& file : files) {
    const bool all_hashed = files.size() <= kMostListedFiles && file.size <= 2 * content.hashed;
    const int64_t modified = all_hashed ? 0 : modified_time(file.path);
    if (file.conversations) hash.add(reader.chat->identity());
    hash.add(fmt::format("{} {} {} {}\n", file.records, file.key, static_cast<int>(compression_of(file.path)),
                         modified));
  }
  return hash.hex();
}

bool is_marked(const std::vector<TextFile>& files) {
  return std::any_of(files.begin(), files.end(), [](const TextFile& file) { return file.conversations; });
}

/// An entry of the cache, under the name of its source.
class CachedCorpus final : public Corpus {
 public:
  CachedCorpus(std::string name, const std::vector<TextFile>& files, std::unique_ptr<Corpus> tokens)
      : name_(std::move(name)), tokens_(std::move(tokens)) {
    for (const TextFile& file : files)
      files_.push_back({.path = file.path, .size = file.size, .checksum = {}});
  }

  std::string name() const override { return name_; }
  int64_t size() const override { return tokens_->size(); }
  int64_t documents() const override { return tokens_->documents(); }
  int64_t eod() const override { return tokens_->eod(); }
  void read(int64_t begin, int64_t count, int64_t* tokens, uint8_t* starts) const override {
    tokens_->read(begin, count, tokens, starts);
  }
  bool masks_loss() const override { return tokens_->masks_loss(); }
  void read_loss(int64_t begin, int64_t count, uint8_t* loss) const override {
    tokens_->read_loss(begin, count, loss);
  }
  int64_t text_bytes(int64_t begin, int64_t count) const override {
    return tokens_->text_bytes(begin, count);
  }
  std::vector<DataFile> files() const override { return files_; }

 private:
  std::string name_;
  std::vector<DataFile> files_;
  std::unique_ptr<Corpus> tokens_;
};

/// Makes one entry of the cache, or waits for the process that does.
class CacheEntry {
 public:
  CacheEntry(const std::vector<TextFile>& files, const Tokenizer& tokenizer, std::string setting,
             const ReadOptions& options)
      : files_(files), reader_{tokenizer, options.chat}, setting_(std::move(setting)), options_(options) {
    const fs::path folder = fs::path(options.cache.empty() ? default_cache() : options.cache) / "tokens";
    dir_ = (folder / cache_key(files, reader_)).string();
    partial_ = dir_ + ".partial";
  }

  const std::string& dir() const { return dir_; }

  void make() {
    if (is_there()) return;
    // Those that leave the work to another process give it time to begin.
    if (!options_.first) sleep_for(std::chrono::seconds(1));
    for (bool waited = false; !is_there();) {
      if (waited && !options_.first && !fs::exists(partial_)) {
        // The other process failed. It has a moment to say so, and to end all ranks.
        sleep_for(std::chrono::seconds(2));
        waited = false;
        continue;
      }
      make_folder();
      if (const auto lock = DirectoryLock::if_free(partial_)) {
        // It may have been completed, or removed after a failure, before it was locked.
        if (!is_there() && fs::exists(partial_)) convert();
        continue;
      }
      if (!waited && !options_.quiet)
        fmt::print(stderr, "{}: another process is turning it into tokens; waiting\n", name_of(files_));
      waited = true;
      sleep_for(std::chrono::milliseconds(100));
    }
  }

  static std::string name_of(const std::vector<TextFile>& files) {
    return files.size() == 1 ? files[0].path
                             : fmt::format("{} and {} more files", files[0].path, files.size() - 1);
  }

 private:
  template <class Time>
  static void sleep_for(Time time) {
    std::this_thread::sleep_for(time);
  }

  bool is_there() const { return fs::exists(dir_ + "/index.json"); }

  void make_folder() {
    std::error_code error;
    if (made_.empty()) {
      for (fs::path at = partial_; !at.empty() && !fs::exists(at, error); at = at.parent_path())
        made_.push_back(at);
    }
    fs::create_directories(partial_, error);
    if (!error) return;
    undo();
    throw InputError(fmt::format(
        "{}: {} becomes tokens once, which are kept in {}, but that cannot be written: {}; choose "
        "another directory with data.cache or the environment variable NATRIX_CACHE",
        setting_, name_of(files_), dir_, error.message()));
  }

  /// Removes the directories that were made here, each if it is empty.
  void undo() const noexcept {
    for (const fs::path& made : made_) ::rmdir(made.c_str());
  }

  void convert() {
    try {
      write();
    } catch (const InputError&) {
      std::error_code ignored;
      fs::remove_all(partial_, ignored);
      undo();
      throw;
    }
  }

  void write() {
    CacheWriter writer(partial_, reader_.tokenizer, options_.part_tokens, is_marked(files_));
    int64_t bytes = 0;
    for (const TextFile& file : files_) bytes += file.size;
    {
      Progress progress("tokenising " + fs::path(files_[0].path).filename().string(), bytes, "bytes",
                        {.quiet = options_.quiet});
      tokenise(
          files_, writer.position(), reader_, options_.threads,
          [&](const TokenPiece& piece) { writer.add(piece); }, [&](int64_t read) { progress.advance(read); });
    }
    if (writer.text_bytes() == 0) {
      throw InputError(fmt::format("{}: {} has no text: {} document(s) of 0 bytes", setting_, name_of(files_),
                                   writer.documents()));
    }
    if (fs::path(dir_).filename() != cache_key(files_, reader_))
      throw RunError(fmt::format("{} changed while it was read; start again", name_of(files_)));
    std::vector<std::string> sources;
    for (size_t i = 0; i < std::min(files_.size(), kMostListedFiles); ++i) sources.push_back(files_[i].path);
    writer.finish(sources);
    std::error_code error;
    fs::rename(partial_, dir_, error);
    if (error && !is_there())
      throw RunError(fmt::format("cannot rename {} to {}: {}", partial_, dir_, error.message()));
    writer.forget_parts(dir_);
  }

  const std::vector<TextFile>& files_;
  TextReader reader_;
  std::string setting_;
  const ReadOptions& options_;
  std::string dir_, partial_;
  std::vector<fs::path> made_;  // directories that did not exist before, innermost first
};

}  // namespace

std::string default_cache() {
  for (const auto& [variable, below] :
       {std::pair("NATRIX_CACHE", ""), std::pair("XDG_CACHE_HOME", "/natrix")}) {
    if (const char* set = std::getenv(variable); set != nullptr && *set != '\0')
      return std::string(set) + below;
  }
  const ExpandedPath home = expand_path("~/.cache/natrix");
  if (home.problem.empty()) return home.path;
  throw InputError(fmt::format(
      "there is no directory to keep tokens in ({}); set data.cache or the environment variable NATRIX_CACHE",
      home.problem));
}

std::unique_ptr<Corpus> open_cached_texts(const std::vector<TextFile>& files, const Tokenizer& tokenizer,
                                          const std::string& setting, const ReadOptions& options) {
  require(!files.empty(), "a cache of no files");
  if (tokenizer.eod() == kNoEod) {
    throw InputError(
        fmt::format("{}: {} has documents that the tokenizer '{}' without an end of document cannot tell "
                    "apart; use a vocabulary with one (bytes: 257), or plain text files",
                    setting, CacheEntry::name_of(files), tokenizer.name()));
  }
  const auto chat =
      std::find_if(files.begin(), files.end(), [](const TextFile& f) { return f.conversations; });
  if (chat != files.end() && options.chat == nullptr) {
    throw InputError(fmt::format(
        "{}: {} holds conversations, which a chat template turns into text, but the tokenizer '{}' "
        "has none; use a tokenizer whose directory has a chat template",
        setting, chat->path, tokenizer.name()));
  }
  CacheEntry entry(files, tokenizer, setting, options);
  entry.make();
  try {
    return std::make_unique<CachedCorpus>(CacheEntry::name_of(files), files,
                                          open_token_shards(entry.dir(), tokenizer));
  } catch (const InputError& e) {
    throw InputError(
        fmt::format("{}: the cached tokens of {} are damaged; remove {}, and they are made again: {}",
                    setting, CacheEntry::name_of(files), entry.dir(), e.what()));
  }
}

}  // namespace natrix
