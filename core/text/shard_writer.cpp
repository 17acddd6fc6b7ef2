// Writing token shards: aside, then renamed, so that a directory of them is complete or is not there.
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

#include "core/io/atomic_file.h"
#include "core/io/xxhash64.h"
#include "core/text/token_shards.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

/// `dir`.partial, until commit() renames it to `dir`. Only files with names of ours are ever removed.
class PartialDirectory {
 public:
  explicit PartialDirectory(const std::string& dir) : dir_(fs::path(dir).lexically_normal()) {
    if (!dir_.has_filename()) dir_ = dir_.parent_path();  // "out/"
    path_ = dir_.string() + ".partial";
    std::error_code error;
    if (fs::exists(dir_, error) && !fs::is_empty(dir_, error)) {
      throw InputError(
          fmt::format("{} exists and is not an empty directory; give another --out, or remove it", dir));
    }
    remove();  // of an earlier run that was killed
    fs::create_directories(path_, error);
    if (error)
      throw RunError(fmt::format("cannot make the directory {}: {}", path_.string(), error.message()));
    if (!fs::is_empty(path_, error)) {
      throw InputError(fmt::format("{} is in the way and holds other files; remove it", path_.string()));
    }
  }
  ~PartialDirectory() { remove(); }
  PartialDirectory(const PartialDirectory&) = delete;
  PartialDirectory& operator=(const PartialDirectory&) = delete;

  std::string file(const std::string& name) const { return (path_ / name).string(); }

  void commit() {
    std::error_code error;
    fs::rename(path_, dir_, error);  // replaces an empty directory
    if (error) {
      throw RunError(
          fmt::format("cannot rename {} to {}: {}", path_.string(), dir_.string(), error.message()));
    }
    sync_directory(dir_.has_parent_path() ? dir_.parent_path().string() : ".");
  }

 private:
  void remove() noexcept {
    std::error_code error;
    for (fs::directory_iterator at(path_, error), end; !error && at != end; at.increment(error)) {
      const auto name = at->path().filename().string();
      std::error_code ignored;  // what stays is reported by whoever needs the place
      if (name.starts_with("shard-") || name.starts_with("index.json")) fs::remove(at->path(), ignored);
    }
    fs::remove(path_, error);  // leaves a directory that holds anything else
  }

  fs::path dir_, path_;
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
  const ShardEntry shard{path, count, hash.hex()};
  const ShardHeader header = make_header(shard, summary);
  file.write_at(0, &header, sizeof header);
  file.commit();
  return shard;
}

}  // namespace

ShardSummary write_token_shards(const Corpus& corpus, const Tokenizer& tokenizer,
                                const std::vector<std::string>& sources, const std::string& dir,
                                int64_t shard_tokens, const TokensDone& progress) {
  require(corpus.eod() == tokenizer.eod() && corpus.eod() != kNoEod, "token shards need separators");
  require(shard_tokens > 0, "a shard of no tokens");
  PartialDirectory out(dir);
  ShardIndex index;
  index.summary = {.tokenizer = tokenizer.name(),
                   .vocab_size = tokenizer.vocab_size(),
                   .eod = tokenizer.eod(),
                   .token_bytes = token_bytes_for(tokenizer.vocab_size()),
                   .tokens = corpus.size(),
                   .documents = corpus.documents(),
                   .text_bytes = corpus.text_bytes(0, corpus.size())};
  for (int64_t begin = 0; begin < corpus.size(); begin += shard_tokens) {
    const int64_t count = std::min(shard_tokens, corpus.size() - begin);
    const auto path = out.file(fmt::format("shard-{:05}.bin", index.shards.size()));
    index.shards.push_back(write_shard(corpus, index.summary, begin, count, path, progress));
  }
  index.summary.shards = static_cast<int64_t>(index.shards.size());
  write_shard_index(out.file("index.json"), index, sources);
  out.commit();
  return index.summary;
}

}  // namespace natrix
