// A corpus of files of tokens that other programs wrote (token_formats.h), read where they lie.
//
// A document begins at each end-of-document token of the data, and at the start of each file. Where the data
// have no such token before a document (Megatron without --append-eod), one is put there.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/text/corpus.h"
#include "core/text/token_formats.h"

namespace natrix {

struct TokenFile {
  TokenFormat format = TokenFormat::kNpy;
  std::string path;
};

/// InputError for a damaged file, and for ids outside of the tokenizer's vocabulary: at the ends of each file
/// when it is opened, elsewhere when they are read.
std::unique_ptr<Corpus> open_token_files(const std::vector<TokenFile>& files, const Tokenizer& tokenizer);

}  // namespace natrix
