// Tokenizer: converts text to token ids and back. Text is bytes and need not be valid UTF-8.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace natrix {

inline constexpr int64_t kNoEod = -1;

/// kWords: before a space between two letters.
enum class TextCuts { kNowhere, kWords, kAnywhere };

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::string name() const = 0;  // value of data.tokenizer
  /// Equal for tokenizers that give every text the same ids, wherever their files are.
  virtual std::string identity() const { return name(); }
  virtual int64_t vocab_size() const = 0;  // all ids, including eod, are below it
  virtual int64_t eod() const = 0;         // id of the end of a document; kNoEod if there is none
  /// The ids of a text. Special tokens that it spells out ("<|im_start|>") are recognised; none are added.
  virtual std::vector<int64_t> encode(std::string_view text) const = 0;
  /// Where a text may be cut so that the ids of its parts are those of the whole (StreamEncoder).
  virtual TextCuts cuts() const { return TextCuts::kAnywhere; }
  /// The special tokens that begin and end a text on its own (as `tokenizer(text)` of transformers adds them).
  virtual std::vector<int64_t> special_before() const { return {}; }
  virtual std::vector<int64_t> special_after() const { return {}; }
  /// The id of a token as its file spells it, for example "<|im_end|>".
  virtual std::optional<int64_t> token_id(std::string_view) const { return std::nullopt; }
  /// Ids without text decode to nothing: special tokens, and the padding of a model's vocabulary.
  virtual std::string decode(std::span<const int64_t> ids) const = 0;
  /// decode() with special tokens spelled out; encode() gives the ids again.
  virtual std::string spell(std::span<const int64_t> ids) const { return decode(ids); }
  /// decode() where earlier tokens have given text already, unless at_start: some tokenizers drop the first space of
  /// a text.
  virtual std::string decode_from(std::span<const int64_t> ids, bool at_start) const {
    static_cast<void>(at_start);
    return decode(ids);
  }
};

/// `spec` is data.tokenizer: "bytes" (id = byte; id 256 ends a document), or a path (open_tokenizer.h).
/// `model_vocab` is the size of the model's vocabulary, if it is known; with 256 ids bytes have no end of
/// document. InputError for a path without a tokenizer, and for a vocabulary too small for the tokenizer's ids.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec, std::optional<int64_t> model_vocab = {});

/// Decodes a stream of tokens for display. It holds back the first bytes of a UTF-8 character until the
/// rest arrives. Bytes that cannot be UTF-8 pass unchanged. The concatenated output always equals decode()
/// of all tokens.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::string push(int64_t id);  // returns the text that is complete now; may be empty
  std::string finish();          // returns the bytes held back

 private:
  const Tokenizer& tokenizer_;
  std::string held_;
  bool at_start_ = true;  // no token has given text yet
};

}  // namespace natrix
