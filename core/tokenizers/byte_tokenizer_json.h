// tokenizer.json of a byte-level model, with which transformers reads the same ids: id = byte value, no
// merges. With a vocabulary of 257, id 256 is "<|endoftext|>". A larger vocabulary has unused ids, which
// have no entry.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace natrix {

/// `vocab_size` is 256 or 257.
std::string byte_tokenizer_json(int64_t vocab_size);
std::string byte_tokenizer_config_json(int64_t vocab_size);
/// Both texts, by file name.
std::map<std::string, std::string> byte_tokenizer_files(int64_t vocab_size);

/// What is known of a tokenizer.json.
struct TokenizerJson {
  bool bytes = false;    // id = byte: encoding and decoding are those of the tokenizer "bytes"
  bool has_end = false;  // if bytes: id 256 exists
  std::string what;      // "a BPE tokenizer of 50257 entries with 50000 merges", for messages
};
/// Accepts any JSON. `bytes` is false for whatever is not known to be byte-level.
TokenizerJson describe_tokenizer_json(const nlohmann::json& tokenizer);
/// The same of a text; InputError if it is not JSON.
TokenizerJson describe_tokenizer_text(std::string_view text, const std::string& origin);

}  // namespace natrix
