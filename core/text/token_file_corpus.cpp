#include "core/text/token_file_corpus.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/text/id_bytes.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int64_t kCheckedTokens = 1 << 16;  // at either end of a file, when it is opened
constexpr int64_t kCheckedDocuments = 1000;  // whose last token is looked at, of each file

/// Tokens of one file that follow one another in the corpus, after a separator that is not in the file or not.
struct TokenRun {
  int64_t position = 0;  // in the corpus, of the separator or else of the first token
  size_t file = 0;
  int64_t first = 0, count = 0;  // in the file
  bool separator = false;
};

class TokenFileCorpus final : public Corpus {
 public:
  TokenFileCorpus(const std::vector<TokenFile>& files, const Tokenizer& tokenizer)
      : tokenizer_(tokenizer.name()),
        vocab_size_(tokenizer.vocab_size()),
        eod_(tokenizer.eod()),
        bytes_of_(text_bytes_of_ids(tokenizer)) {
    for (const TokenFile& file : files) add(open_token_file(file.format, file.path));
    // The last separator: an empty document after all others.
    if (eod_ != kNoEod && !ends_in_eod_) add_run(0, 0, 0, true);
  }

  std::string name() const override {
    return stored_.size() == 1 ? stored_[0].path
                               : fmt::format("{} and {} more", stored_[0].path, stored_.size() - 1);
  }
  int64_t size() const override { return size_; }
  int64_t eod() const override { return eod_; }

  int64_t documents() const override {
    if (eod_ == kNoEod) return static_cast<int64_t>(runs_.size());
    int64_t separators = 0;
    std::vector<int64_t> tokens(static_cast<size_t>(std::min(size_, int64_t{1} << 20)));
    for (int64_t begin = 0; begin < size_; begin += static_cast<int64_t>(tokens.size())) {
      const int64_t here = std::min(static_cast<int64_t>(tokens.size()), size_ - begin);
      read(begin, here, tokens.data(), nullptr);
      separators += std::count(tokens.begin(), tokens.begin() + here, eod_);
    }
    return separators - 1;
  }

  std::vector<DataFile> files() const override {
    std::vector<DataFile> all;
    for (const StoredTokens& stored : stored_) {
      if (!stored.index.empty())
        all.push_back({.path = stored.index, .size = stored.index_size, .checksum = {}});
      all.push_back({.path = stored.path, .size = stored.file_size, .checksum = {}});
    }
    return all;
  }

  void read(int64_t begin, int64_t count, int64_t* tokens, uint8_t* starts) const override {
    require(begin >= 0 && count >= 0 && begin + count <= size_, "tokens outside of the corpus");
    if (starts != nullptr) std::fill_n(starts, count, uint8_t{0});
    const int64_t end = begin + count;
    auto run = std::upper_bound(runs_.begin(), runs_.end(), begin,
                                [](int64_t position, const TokenRun& r) { return position < r.position; });
    if (run != runs_.begin()) --run;
    for (int64_t at = begin; at < end; ++run) {
      if (at == run->position && starts != nullptr) starts[at - begin] = 1;
      if (at == run->position && run->separator) tokens[at++ - begin] = eod_;
      const int64_t done = at - run->position - (run->separator ? 1 : 0);
      const int64_t here = std::min(end - at, run->count - done);
      if (here <= 0) continue;
      read_file(run->file, run->first + done, here, tokens + (at - begin));
      at += here;
    }
    if (starts == nullptr || eod_ == kNoEod) return;
    for (int64_t i = 0; i < count; ++i) starts[i] = tokens[i] == eod_ ? 1 : 0;
  }

  int64_t text_bytes(int64_t begin, int64_t count) const override {
    return sum_text_bytes(*this, begin, count, bytes_of_);
  }

 private:
  void add(StoredTokens stored) {
    const size_t file = stored_.size();
    files_.add(SourceFile(stored.path));
    stored_.push_back(std::move(stored));
    const StoredTokens& s = stored_.back();
    std::vector<int64_t> ends(static_cast<size_t>(std::min(s.count, kCheckedTokens)));
    const auto checked = static_cast<int64_t>(ends.size());
    read_file(file, s.count - checked, checked, ends.data());
    const bool ends_in_eod = ends.back() == eod_;
    read_file(file, 0, checked, ends.data());

    if (s.document_starts.empty() || documents_end_in_eod(file)) {
      add_run(file, 0, s.count, !ends_in_eod_ && ends.front() != eod_);
    } else {
      for (size_t d = 0; d + 1 < s.document_starts.size(); ++d) {
        const int64_t first = s.document_starts[d], count = s.document_starts[d + 1] - first;
        add_run(file, first, count, true);
      }
    }
    ends_in_eod_ = ends_in_eod;
  }

  void add_run(size_t file, int64_t first, int64_t count, bool separator) {
    separator = separator && eod_ != kNoEod;
    if (count == 0 && !separator) return;
    runs_.push_back(
        {.position = size_, .file = file, .first = first, .count = count, .separator = separator});
    size_ += count + (separator ? 1 : 0);
  }

  /// Megatron's --append-eod does it for all documents or for none, so some of them tell.
  bool documents_end_in_eod(size_t file) const {
    const std::vector<int64_t>& starts = stored_[file].document_starts;
    const auto documents = static_cast<int64_t>(starts.size()) - 1;
    const int64_t every = (documents + kCheckedDocuments - 1) / kCheckedDocuments;
    for (int64_t d = 0; d < documents; d += every) {
      const int64_t end = starts[static_cast<size_t>(d) + 1];
      if (end == starts[static_cast<size_t>(d)]) return false;
      int64_t last = 0;
      read_file(file, end - 1, 1, &last);
      if (last != eod_) return false;
    }
    return eod_ != kNoEod;
  }

  void read_file(size_t file, int64_t first, int64_t count, int64_t* tokens) const {
    const StoredTokens& s = stored_[file];
    const int64_t width = width_of(s.type);
    // What is read lands at the end of the memory that it is widened into.
    auto* raw = reinterpret_cast<unsigned char*>(tokens + count) - count * width;
    files_.read(file, s.offset + first * width, count * width, raw);
    widen_integers(raw, s.type, count, tokens);
    const int64_t* bad =
        std::find_if(tokens, tokens + count, [&](int64_t t) { return t < 0 || t >= vocab_size_; });
    if (bad == tokens + count) return;
    throw InputError(
        fmt::format("{}: token {} is {}, outside of the vocabulary of {} of the tokenizer '{}'; name the "
                    "tokenizer that made "
                    "these tokens (data.tokenizer, --tokenizer)",
                    s.path, first + (bad - tokens), *bad, vocab_size_, tokenizer_));
  }

  std::string tokenizer_;
  int64_t vocab_size_, eod_;
  std::vector<int64_t> bytes_of_;  // by id
  std::vector<StoredTokens> stored_;
  SourceFiles files_;
  std::vector<TokenRun> runs_;
  bool ends_in_eod_ = false;  // the last token of the file before
  int64_t size_ = 0;
};

}  // namespace

std::unique_ptr<Corpus> open_token_files(const std::vector<TokenFile>& files, const Tokenizer& tokenizer) {
  require(!files.empty(), "a corpus of no files");
  return std::make_unique<TokenFileCorpus>(files, tokenizer);
}

}  // namespace natrix
