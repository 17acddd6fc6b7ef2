// tokenizer.json of a byte-level model, so that transformers reads the same ids: id = byte value, no merges,
// and with a vocabulary of 257 the id 256 as "<|endoftext|>".
#pragma once

#include <cstdint>
#include <string>

namespace natrix {

/// `vocab_size` is 256 or 257.
std::string byte_tokenizer_json(int64_t vocab_size);
std::string byte_tokenizer_config_json(int64_t vocab_size);

}  // namespace natrix
