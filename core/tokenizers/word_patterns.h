// Hand-written matchers of the patterns by which most tokenizers divide text. Each gives what its regular expression gives;
// tests hold them to it.
#pragma once

#include <cstddef>
#include <string_view>

namespace natrix {

/// The end of the match that begins at text[at]. These patterns match at every place.
using WordEnd = size_t (*)(std::string_view text, size_t at);

/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t gpt2_word_end(std::string_view text, size_t at);

/// The matcher of a pattern, if there is one: those of GPT-2, Llama 3 (numbers of up to three digits) and Qwen 2 (of
/// one). Else null.
WordEnd known_pattern(std::string_view pattern);

}  // namespace natrix
