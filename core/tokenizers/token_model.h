// TokenModel: the part of a tokenizer that turns one piece of text into ids (byte-pair merges, unigram scores).
//
// A tokenizer is a pipeline: added tokens are cut out of the text, the rest is normalised, then split into pieces
// (pre-tokens), and the model turns each piece into ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace natrix {

class TokenModel {
 public:
  virtual ~TokenModel() = default;

  /// Appends the ids of one piece. Any number of threads may call it at once.
  virtual void encode(std::string_view piece, std::vector<int64_t>& ids) const = 0;

  virtual int64_t vocab_size() const = 0;  // all ids are below it
  virtual std::optional<int64_t> id(std::string_view token) const = 0;
  virtual std::string_view token(int64_t id) const = 0;  // as the file spells it; empty if there is none
};

}  // namespace natrix
