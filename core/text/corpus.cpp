#include "core/text/corpus.h"

#include <algorithm>
#include <fmt/format.h>
#include <unordered_set>

#include "core/text/document_list.h"
#include "core/text/source_files.h"
#include "core/text/token_cache.h"
#include "core/text/token_file_corpus.h"
#include "core/text/token_shards.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

/// Files read as bytes. A byte's id is its value, so a position in the corpus is an offset in a file.
class FileCorpus final : public Corpus {
 public:
  FileCorpus(std::string name, const std::vector<TextFile>& texts, int64_t eod)
      : name_(std::move(name)), eod_(eod), separator_(eod == kNoEod ? 0 : 1) {
    for (const auto& text : texts) {
      SourceFile file(text.path);
      starts_.push_back(size_);
      size_ += separator_ + file.size();
      files_.add(std::move(file));
    }
    starts_.push_back(size_);  // the last separator: an empty document after all others
    size_ += separator_;
  }

  std::string name() const override { return name_; }
  int64_t size() const override { return size_; }
  int64_t documents() const override { return static_cast<int64_t>(files_.count()); }
  int64_t eod() const override { return eod_; }
  std::vector<DataFile> files() const override { return files_.all(); }

  void read(int64_t begin, int64_t count, int64_t* tokens, uint8_t* starts) const override {
    require(begin >= 0 && count >= 0 && begin + count <= size_, "tokens outside of the corpus");
    if (starts != nullptr) std::fill_n(starts, count, uint8_t{0});
    const int64_t end = begin + count;
    const auto mark = [&](int64_t position) {
      if (starts != nullptr) starts[position - begin] = 1;
    };
    int64_t at = begin;
    for (auto d = static_cast<size_t>(document_at(begin)); at < end; ++d) {
      const bool at_start = at == starts_[d];
      if (at_start) mark(at);
      if (at_start && separator_ == 1) tokens[at++ - begin] = eod_;
      const int64_t text = std::min(end, d < files_.count() ? starts_[d + 1] : size_) - at;
      if (text <= 0) continue;
      read_text(d, at - starts_[d] - separator_, text, tokens + (at - begin));
      at += text;
    }
  }

  int64_t text_bytes(int64_t begin, int64_t count) const override {
    if (separator_ == 0) return count;
    const auto first = std::lower_bound(starts_.begin(), starts_.end(), begin);
    return count - (std::lower_bound(first, starts_.end(), begin + count) - first);
  }

 private:
  int64_t document_at(int64_t position) const {
    return std::upper_bound(starts_.begin(), starts_.end(), position) - starts_.begin() - 1;
  }

  void read_text(size_t document, int64_t offset, int64_t count, int64_t* tokens) const {
    // The bytes are read into the last eighth of the tokens' memory and widened from the front. Token i is
    // written to bytes up to 8i + 7, which is never past its source, byte 7·count + i.
    auto* bytes = reinterpret_cast<unsigned char*>(tokens) + 7 * count;
    files_.read(document, offset, count, bytes);
    for (int64_t i = 0; i < count; ++i) tokens[i] = bytes[i];
  }

  std::string name_;
  SourceFiles files_;
  std::vector<int64_t> starts_;  // position of each document's first token, and of the last separator
  int64_t eod_;
  int64_t separator_;  // tokens before each document: 1 or 0
  int64_t size_ = 0;
};

std::string corpus_name(const std::vector<DataEntry>& entries) {
  return entries.size() == 1 ? entries[0].path
                             : fmt::format("{} and {} more", entries[0].path, entries.size() - 1);
}

bool has_records(const std::string& path) {
  const std::string name = without_compression(path);
  return name.ends_with(".jsonl") || name.ends_with(".ndjson");
}

/// What the entries name, by kind.
struct FoundFiles {
  std::vector<TextFile> texts;
  std::vector<TokenFile> tokens;
};

FoundFiles find_files(const std::vector<DataEntry>& entries, const std::string& setting) {
  FoundFiles found;
  std::unordered_set<std::string> pairs;  // of Megatron, whose two files may both be listed
  const auto add = [&](const std::string& path, const std::string& key) {
    const auto format = token_format_of(path);
    if (format == TokenFormat::kMegatron && !pairs.insert(tokens_path(*format, path)).second) return;
    if (format && !key.empty())
      throw InputError(
          fmt::format("{}: {} holds tokens, which have no key {}; leave the key out", setting, path, key));
    if (format) return found.tokens.push_back({*format, path});
    const SourceFile file(path);
    if (is_shard_file(file)) fail_mixed_shards(setting, path);  // where its directory is not one of shards
    found.texts.push_back(
        {.path = path, .size = file.size(), .records = !key.empty() || has_records(path), .key = key});
    found.texts.back().conversations = holds_conversations(found.texts.back());
  };
  for (const DataEntry& entry : entries) {
    if (token_format_of(entry.path)) {
      add(entry.path, entry.key);
      continue;
    }
    for (const std::string& path : list_documents({entry.path}, setting)) add(path, entry.key);
  }
  return found;
}

bool is_plain(const TextFile& file) {
  return !file.records && compression_of(file.path) == Compression::kNone;
}

}  // namespace

std::unique_ptr<Corpus> open_corpus_of(const std::vector<DataEntry>& entries, const Tokenizer& tokenizer,
                                       const std::string& setting, const ReadOptions& options) {
  if (entries.empty()) {
    throw InputError(fmt::format("{} names no files; give files or directories of text", setting));
  }
  if (entries.size() == 1 && is_token_shards(entries[0].path))
    return open_token_shards(entries[0].path, tokenizer);
  refuse_named_shards(paths_of(entries), setting);
  const FoundFiles found = find_files(entries, setting);
  if (!found.tokens.empty() && !found.texts.empty()) {
    throw InputError(
        fmt::format("{}: {} holds tokens and {} holds text; give each a weight of its own, as sources of a "
                    "mixture, or turn both into token shards with natrix data",
                    setting, found.tokens[0].path, found.texts[0].path));
  }
  if (!found.tokens.empty()) return open_token_files(found.tokens, tokenizer);
  const bool as_bytes = tokenizer.name() == "bytes";
  if (!as_bytes || !std::all_of(found.texts.begin(), found.texts.end(), is_plain))
    return open_cached_texts(found.texts, tokenizer, setting, options);
  auto corpus = std::make_unique<FileCorpus>(corpus_name(entries), found.texts, tokenizer.eod());
  if (corpus->text_bytes(0, corpus->size()) == 0) {
    throw InputError(fmt::format("{}: {} has no text: {} file(s) of 0 bytes", setting, corpus->name(),
                                 corpus->documents()));
  }
  return corpus;
}

std::unique_ptr<Corpus> open_corpus(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                                    const std::string& setting, const ReadOptions& options) {
  return open_corpus_of({paths.begin(), paths.end()}, tokenizer, setting, options);
}

}  // namespace natrix
