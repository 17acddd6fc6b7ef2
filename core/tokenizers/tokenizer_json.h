// Reads tokenizer.json, the format of Hugging Face's `tokenizers`, with a byte-pair encoding. docs/tokenizers.md lists what is
// read; everything else is refused by name.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "core/tokenizers/tokenizer.h"

namespace natrix {

/// eod: the text of the token that ends a document, as the files beside it name it; empty if they do not. InputError
/// for a damaged file and for anything that natrix does not know, which it names.
std::unique_ptr<Tokenizer> read_tokenizer_json(const std::string& path, const std::string& eod = {});
/// The same of a text; `origin` names where it is from.
std::unique_ptr<Tokenizer> parse_tokenizer_json(std::string_view text, const std::string& origin,
                                                const std::string& eod = {});

}  // namespace natrix
