// The text of a model's directory: its tokenizer, and what ends a document.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tokenizers/tokenizer.h"

namespace natrix {

/// The tokenizer of a model's text. An empty `spec` is the model's own (core/text/own_tokenizer.h): InputError
/// where natrix cannot read that yet.
std::unique_ptr<Tokenizer> text_tokenizer(const std::string& spec, const std::string& dir,
                                          int64_t vocab_size);
/// The same, but null where natrix cannot read the model's own.
std::unique_ptr<Tokenizer> text_tokenizer_if_any(const std::string& spec, const std::string& dir,
                                                 int64_t vocab_size);

/// The ids that end a document, each once: those of generation_config.json, of config.json, and the
/// tokenizer's (may be null). The rule is the same for text and for tokens.
std::vector<int64_t> end_of_text_ids(const std::string& dir, const Tokenizer* tokenizer, int64_t vocab_size);

}  // namespace natrix
