// tokenizer.json of a byte-level model, so that transformers reads the same ids: id = byte value, no merges,
// and with a vocabulary of 257 the id 256 as "<|endoftext|>". A model with a larger vocabulary has ids that
// stand for nothing; they have no entry.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace natrix {

/// `vocab_size` is 256 or 257.
std::string byte_tokenizer_json(int64_t vocab_size);
std::string byte_tokenizer_config_json(int64_t vocab_size);
/// Both, under the names of their files.
std::map<std::string, std::string> byte_tokenizer_files(int64_t vocab_size);

/// What a tokenizer.json makes of text.
struct TokenizerJson {
  bool bytes = false;    // id = byte: encoding and decoding are those of the tokenizer "bytes"
  bool has_end = false;  // of bytes: there is an id 256
  std::string what;      // "a BPE tokenizer of 50257 entries with 50000 merges", for messages
};
/// Any JSON is understood, and what is not known to be bytes is none.
TokenizerJson describe_tokenizer_json(const nlohmann::json& tokenizer);

}  // namespace natrix
