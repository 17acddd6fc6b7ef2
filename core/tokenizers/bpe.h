// Byte-pair encoding: a piece starts as single bytes or characters; the pair of neighbours whose merge comes first in the
// list is merged, again and again, until no pair of neighbours is in the list.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/tokenizers/token_model.h"

namespace natrix {

/// A vocabulary and its merges, as a file gives them.
struct BpeSpec {
  std::vector<std::string> tokens;                          // by id, as bytes of text; empty: no such id
  std::vector<std::pair<std::string, std::string>> merges;  // first to last
  bool by_bytes = true;                                     // pieces start as bytes; else as UTF-8 characters
  bool ignore_merges = false;      // a piece that is a token is that token, whatever the merges say
  bool byte_fallback = false;      // a character without a token becomes its bytes' tokens, "<0xE2>"
  std::optional<int64_t> unknown;  // else it becomes this token; without one it is left out
  bool fuse_unknown = false;       // a run of unknown characters becomes one token
};

/// InputError, which begins with `where`, for a merge of tokens that are not there and for bytes without a token.
std::unique_ptr<TokenModel> make_bpe(BpeSpec spec, const std::string& where);

}  // namespace natrix
