// How many bytes of text the tokens of a corpus stand for.
#pragma once

#include <cstdint>
#include <vector>

#include "core/text/corpus.h"

namespace natrix {

/// The number of bytes that each id of the tokenizer decodes to.
std::vector<int64_t> text_bytes_of_ids(const Tokenizer& tokenizer);

/// The sum over tokens [begin, begin + count), which are read.
int64_t sum_text_bytes(const Corpus& corpus, int64_t begin, int64_t count,
                       const std::vector<int64_t>& bytes_of);

}  // namespace natrix
