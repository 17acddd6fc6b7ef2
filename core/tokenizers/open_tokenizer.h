// Opens a tokenizer by its path.
#pragma once

#include <memory>
#include <string>

#include "core/tokenizers/tokenizer.h"

namespace natrix {

/// path: a tokenizer.json, or a directory with one. Its end of a document is the eos_token of the tokenizer_config.json
/// or special_tokens_map.json beside it, or else "<|endoftext|>" if it has that token. InputError where there is no
/// tokenizer, or one that natrix cannot read.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& path);

}  // namespace natrix
