#include "core/text/token_shards.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>

#include "core/files/xxhash64.h"
#include "core/text/id_bytes.h"
#include "core/text/source_files.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTokensAtOnce = 1 << 20;  // of a scan through everything

void check_vocabulary(const int64_t* tokens, int64_t count, int64_t first, const std::string& path,
                      const ShardSummary& summary) {
  const int64_t* bad =
      std::find_if(tokens, tokens + count, [&](int64_t t) { return t >= summary.vocab_size; });
  if (bad == tokens + count) return;
  fail_shard(path, fmt::format("token {} is {}, outside of the vocabulary of {}", first + (bad - tokens),
                               *bad, summary.vocab_size));
}

class ShardCorpus final : public Corpus {
 public:
  ShardCorpus(std::string dir, ShardIndex index) : dir_(std::move(dir)), summary_(std::move(index.summary)) {
    for (const auto& shard : index.shards) {
      SourceFile file(shard.path);
      ShardHeader header = {};
      file.read(0, std::min(file.size(), int64_t{sizeof header}), &header);
      check_header(header, file.size(), shard, summary_);
      files_.add(std::move(file));
      if (summary_.marked) add_marks(shard);
      checksums_.push_back(shard.xxh3);
      starts_.push_back(size_);
      size_ += shard.tokens;
    }
  }

  /// The sizes of text that ids stand for, and the layout that Corpus promises.
  void bind(const Tokenizer& tokenizer) {
    text_bytes_of_ = text_bytes_of_ids(tokenizer);
    for (const int64_t position : {int64_t{0}, size_ - 1}) {
      int64_t token = 0;
      read(position, 1, &token, nullptr);
      if (token != summary_.eod) {
        fail_shard(dir_, fmt::format("token {} is {}; expected the end of document, {}", position, token,
                                     summary_.eod));
      }
    }
  }

  std::string name() const override { return dir_; }
  int64_t size() const override { return size_; }
  int64_t documents() const override { return summary_.documents; }
  int64_t eod() const override { return summary_.eod; }
  std::vector<DataFile> files() const override {
    std::vector<DataFile> all = files_.all();
    for (size_t i = 0; i < all.size(); ++i) all[i].checksum = checksums_[i];
    return all;
  }

  void read(int64_t begin, int64_t count, int64_t* tokens, uint8_t* starts) const override {
    require(begin >= 0 && count >= 0 && begin + count <= size_, "tokens outside of the corpus");
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), begin);
    auto shard = static_cast<size_t>(after - starts_.begin() - 1);
    for (int64_t done = 0; done < count; ++shard) {
      const int64_t at = begin + done;
      const int64_t end = shard + 1 < starts_.size() ? starts_[shard + 1] : size_;
      const int64_t here = std::min(count - done, end - at);
      read_shard(shard, at - starts_[shard], here, tokens + done);
      done += here;
    }
    if (starts == nullptr) return;
    if (summary_.marked) return read_marks(begin, count, kStartsDocument, starts);
    for (int64_t i = 0; i < count; ++i) starts[i] = tokens[i] == summary_.eod ? 1 : 0;
  }

  bool masks_loss() const override { return summary_.marked; }
  void read_loss(int64_t begin, int64_t count, uint8_t* loss) const override {
    if (summary_.marked) return read_marks(begin, count, kIsLearnt, loss);
    std::fill_n(loss, count, uint8_t{1});
  }

  int64_t text_bytes(int64_t begin, int64_t count) const override {
    if (begin <= 1 && begin + count == size_) return summary_.text_bytes;  // token 0 is a separator
    return sum_text_bytes(*this, begin, count, text_bytes_of_);
  }

 private:
  void add_marks(const ShardEntry& shard) {
    SourceFile marks(marks_path(shard.path));
    if (marks.size() != shard.tokens) {
      fail_shard(marks.path(),
                 fmt::format("has {} marks; expected one for each of {} tokens", marks.size(), shard.tokens));
    }
    marks_.add(std::move(marks));
  }

  /// bits[i] = 1 if the mark of token begin + i has the bit.
  void read_marks(int64_t begin, int64_t count, uint8_t bit, uint8_t* bits) const {
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), begin);
    auto shard = static_cast<size_t>(after - starts_.begin() - 1);
    for (int64_t done = 0; done < count; ++shard) {
      const int64_t at = begin + done;
      const int64_t end = shard + 1 < starts_.size() ? starts_[shard + 1] : size_;
      const int64_t here = std::min(count - done, end - at);
      marks_.read(shard, at - starts_[shard], here, bits + done);
      done += here;
    }
    for (int64_t i = 0; i < count; ++i) bits[i] = (bits[i] & bit) != 0 ? 1 : 0;
  }

  void read_shard(size_t shard, int64_t offset, int64_t count, int64_t* tokens) const {
    const int64_t width = summary_.token_bytes;
    // As in a corpus of files, what is read lands at the end of the memory that it is widened into.
    auto* stored = reinterpret_cast<unsigned char*>(tokens + count) - count * width;
    files_.read(shard, int64_t{sizeof(ShardHeader)} + offset * width, count * width, stored);
    widen_tokens(stored, width, count, tokens);
    check_vocabulary(tokens, count, offset, files_.path(shard), summary_);
  }

  std::string dir_;
  ShardSummary summary_;
  SourceFiles files_, marks_;
  std::vector<std::string> checksums_;  // of each file's tokens, as the index has them
  std::vector<int64_t> starts_;         // position of each shard's first token
  std::vector<int64_t> text_bytes_of_;  // by id
  int64_t size_ = 0;
};

bool begins_as_shard(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && is_shard_file(SourceFile(path));
}

}  // namespace

bool is_token_shards(const std::string& dir) {
  // A lone shard counts: a directory that lost its index must not be trained on as if it were text.
  const std::filesystem::path base(dir);
  std::error_code error;
  if (std::filesystem::is_regular_file(base / "shard-00000.bin", error)) return true;
  std::ifstream index(base / "index.json", std::ios::binary);
  std::string beginning(4096, '\0');
  index.read(beginning.data(), static_cast<std::streamsize>(beginning.size()));
  return beginning.find(kShardFormat) != std::string::npos;
}

bool is_shard_file(const SourceFile& file) {
  std::string beginning(kShardMagic.size(), '\0');
  if (file.size() < static_cast<int64_t>(beginning.size())) return false;
  file.read(0, static_cast<int64_t>(beginning.size()), beginning.data());
  return beginning == kShardMagic;
}

void refuse_named_shards(const std::vector<std::string>& paths, const std::string& key) {
  const auto shard = std::find_if(paths.begin(), paths.end(), begins_as_shard);
  if (shard == paths.end()) return;
  const fs::path dir = fs::path(*shard).parent_path();
  throw InputError(fmt::format(
      "{}: {} is a file of token shards, not text; give the directory, {}, which stands for all of "
      "its shards",
      key, *shard, dir.empty() ? "." : dir.string()));
}

std::unique_ptr<Corpus> open_token_shards(const std::string& dir, const Tokenizer& tokenizer) {
  auto index = read_shard_index(dir);
  const auto& made = index.summary;
  if (made.tokenizer_identity != tokenizer.identity() || made.vocab_size != tokenizer.vocab_size() ||
      made.eod != tokenizer.eod()) {
    throw InputError(
        fmt::format("{} was made with the tokenizer '{}' (vocabulary {}, end of document {}), but '{}' ({}, "
                    "{}) is asked for",
                    dir, made.tokenizer, made.vocab_size, made.eod, tokenizer.name(), tokenizer.vocab_size(),
                    tokenizer.eod()));
  }
  auto corpus = std::make_unique<ShardCorpus>(dir, std::move(index));
  corpus->bind(tokenizer);
  return corpus;
}

ShardSummary check_token_shards(const std::string& dir, const TokensDone& progress) {
  const auto index = read_shard_index(dir);
  const auto& summary = index.summary;
  const ShardCorpus corpus(dir, index);  // checks headers and sizes
  std::vector<int64_t> tokens(static_cast<size_t>(std::min(summary.tokens, kTokensAtOnce)));
  std::vector<uint8_t> starts(tokens.size());
  std::vector<unsigned char> stored(tokens.size() * static_cast<size_t>(summary.token_bytes));
  int64_t position = 0, separators = 0;
  for (const auto& shard : index.shards) {
    Xxhash64 hash;
    for (int64_t done = 0; done < shard.tokens; done += kTokensAtOnce) {
      const int64_t here = std::min(shard.tokens - done, kTokensAtOnce);
      corpus.read(position + done, here, tokens.data(), starts.data());
      narrow_tokens(tokens.data(), summary.token_bytes, here, stored.data());
      hash.add(stored.data(), here * summary.token_bytes);
      separators += std::count(starts.begin(), starts.begin() + here, 1);
      progress(here);
    }
    if (hash.hex() != shard.xxh3)
      fail_shard(shard.path, "its tokens do not have its checksum: it was changed or damaged");
    if (summary.marked && hash_file(marks_path(shard.path)) != shard.marks_xxh3)
      fail_shard(marks_path(shard.path), "does not have its checksum: it was changed or damaged");
    position += shard.tokens;
  }
  if (separators != summary.documents + 1) {
    fail_shard(dir, fmt::format("holds {} ends of document; {} documents have one more than that", separators,
                                summary.documents));
  }
  return summary;
}

}  // namespace natrix
