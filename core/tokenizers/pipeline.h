// PipelineTokenizer: the steps of a tokenizer.json, one after another:
//
//   text → added tokens cut out → normalizer → (added tokens of normalised text) → pre-tokenizer → model → ids
//
// and back: each token's text, joined.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/tokenizers/added_tokens.h"
#include "core/tokenizers/normalizer.h"
#include "core/tokenizers/pretokenizer.h"
#include "core/tokenizers/token_model.h"
#include "core/tokenizers/tokenizer.h"

namespace natrix {

struct TokenizerParts {
  std::string name, identity;
  std::vector<AddedToken> added;
  Normalizer normalizer;                       // empty: none
  std::unique_ptr<PreTokenizer> pretokenizer;  // null: a text is one piece
  std::unique_ptr<TokenModel> model;
  std::vector<std::string> text_of_id;  // what a token decodes to
  std::vector<bool> special;            // by id: decode() leaves it out
  bool normalizes_words_apart = true;   // two words apart as together
  bool strips_first_space = false;      // when decoding, of the text's first token
  std::vector<int64_t> before, after;   // special tokens around a text, if they are asked for
  int64_t eod = kNoEod;
};

/// InputError, which begins with the name, for a vocabulary without ids.
std::unique_ptr<Tokenizer> make_pipeline(TokenizerParts parts);

}  // namespace natrix
