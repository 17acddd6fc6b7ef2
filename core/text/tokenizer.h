// Tokenizer: text to token ids and back. Text is bytes; nothing here asks for valid UTF-8.
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

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::string name() const = 0;    // the YAML's data.tokenizer
  virtual int64_t vocab_size() const = 0;  // ids are below it, the end of a document included
  virtual int64_t eod() const = 0;         // id of the end of a document; kNoEod where there is none
  virtual std::vector<int64_t> encode(std::string_view text) const = 0;  // never yields eod
  /// Ids that stand for no text decode to nothing: eod, and the padding of a model's vocabulary.
  virtual std::string decode(std::span<const int64_t> ids) const = 0;
};

/// `spec` is data.tokenizer: "bytes" (id = byte, 256 ends a document). `model_vocab` is the size of the
/// model's own vocabulary where it is known: bytes with 256 have no end of document. InputError for a spec
/// that natrix does not know, and for a vocabulary too small to hold the tokenizer's ids.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec, std::optional<int64_t> model_vocab = {});

/// Decodes a stream of tokens for display, holding back the first bytes of a UTF-8 character until the rest
/// arrives. Bytes that cannot be UTF-8 pass as they are;
/// the concatenated output is decode() of all tokens, always.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::string push(int64_t id);  // text that is complete now, possibly none
  std::string finish();          // what was held back

 private:
  const Tokenizer& tokenizer_;
  std::string held_;
};

}  // namespace natrix
