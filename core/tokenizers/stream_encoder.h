// StreamEncoder: the ids of a text that arrives in pieces. Together they are those of the whole text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizers/tokenizer.h"

namespace natrix {

/// Holds text back from the last place on where the tokenizer's texts may be cut (Tokenizer::cuts()): for most, a space
/// between two letters, before which a new piece begins. A tokenizer that knows no such place gets the whole text at
/// the end.
class StreamEncoder {
 public:
  explicit StreamEncoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::vector<int64_t> push(std::string_view text);  // the ids that are certain now; may be empty
  std::vector<int64_t> finish();                     // the ids of the text held back

 private:
  const Tokenizer& tokenizer_;
  std::string held_;
};

}  // namespace natrix
