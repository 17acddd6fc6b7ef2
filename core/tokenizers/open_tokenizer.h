// Opens a tokenizer by its path.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/tokenizers/tokenizer.h"

namespace natrix {

/// path: a tokenizer.json, or a directory with one. Its end of a document is the eos_token of the tokenizer_config.json
/// or special_tokens_map.json beside it, or else "<|endoftext|>" if it has that token. InputError where there is no
/// tokenizer, or one that natrix cannot read.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& path);
/// The same of the contents of these files, by name, which come from `origin`. tokenizer.json is among them.
std::unique_ptr<Tokenizer> make_tokenizer_of(const std::map<std::string, std::string>& files,
                                             const std::string& origin);

}  // namespace natrix
