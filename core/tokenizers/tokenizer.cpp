#include "core/tokenizers/tokenizer.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "core/tokenizers/open_tokenizer.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int64_t kByteValues = 256;

class ByteTokenizer final : public Tokenizer {
 public:
  explicit ByteTokenizer(bool has_eod) : has_eod_(has_eod) {}

  std::string name() const override { return "bytes"; }
  int64_t vocab_size() const override { return kByteValues + (has_eod_ ? 1 : 0); }
  int64_t eod() const override { return has_eod_ ? kByteValues : kNoEod; }

  std::vector<int64_t> encode(std::string_view text) const override {
    std::vector<int64_t> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }

  std::string decode(std::span<const int64_t> ids) const override {
    std::string text;
    text.reserve(ids.size());
    for (const int64_t id : ids) {
      if (0 <= id && id < kByteValues) text.push_back(static_cast<char>(id));
    }
    return text;
  }

 private:
  bool has_eod_;
};

/// Bytes of the UTF-8 character that starts with `lead`; 1 for a byte that cannot start a longer one.
size_t utf8_length(unsigned char lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 1;
}

/// Length of the unfinished character at the end of `text`; 0 when the text ends between characters.
size_t unfinished_tail(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    const bool continuation = (byte & 0xC0) == 0x80;
    if (!continuation) return utf8_length(byte) > back ? back : 0;
  }
  return 0;
}

/// A model may have more ids than its tokenizer: padding.
void check_vocabulary(const Tokenizer& tokenizer, std::optional<int64_t> model_vocab) {
  if (!model_vocab || *model_vocab >= tokenizer.vocab_size()) return;
  throw InputError(fmt::format("a vocabulary of {} is too small for the tokenizer {}, which has {} ids",
                               *model_vocab, tokenizer.name(), tokenizer.vocab_size()));
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec, std::optional<int64_t> model_vocab) {
  if (spec != "bytes") {
    auto tokenizer = open_tokenizer(spec);
    check_vocabulary(*tokenizer, model_vocab);
    return tokenizer;
  }
  if (model_vocab && *model_vocab < kByteValues) {
    throw InputError(
        fmt::format("a vocabulary of {} is too small for the tokenizer 'bytes': it needs 257, or 256 to do "
                    "without an end of document",
                    *model_vocab));
  }
  return std::make_unique<ByteTokenizer>(model_vocab != kByteValues);
}

std::string StreamDecoder::push(int64_t id) {
  const std::string piece = tokenizer_.decode_from({&id, 1}, at_start_);
  at_start_ = at_start_ && tokenizer_.decode_from({&id, 1}, false).empty();
  held_ += piece;
  const size_t ready = held_.size() - unfinished_tail(held_);
  std::string text = held_.substr(0, ready);
  held_.erase(0, ready);
  return text;
}

std::string StreamDecoder::finish() {
  return std::exchange(held_, {});
}

}  // namespace natrix
