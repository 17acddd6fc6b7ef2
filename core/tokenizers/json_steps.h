// The steps of a tokenizer.json: its normalizer, pre-tokenizer, decoder and post-processor. `origin` is the file. InputError,
// which names the member and its type, for a step that natrix does not know.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/tokenizers/normalizer.h"
#include "core/tokenizers/pretokenizer.h"

namespace natrix {

/// Empty for null.
Normalizer read_normalizer(const nlohmann::json& step, const std::string& origin);
/// Whether normalising two words apart gives the same as together: false for Strip and Prepend, which look at the ends
/// of a text.
bool normalizes_words_apart(const nlohmann::json& step);

struct PreTokenizerStep {
  std::unique_ptr<PreTokenizer> step;  // null for null
  bool byte_level = false;             // the vocabulary writes bytes as letters (byte_letters.h)
};
PreTokenizerStep read_pretokenizer(const nlohmann::json& step, const std::string& origin);

struct DecoderStep {
  /// The text of one token, given its spelling in the vocabulary, as bytes already where that is byte-level.
  std::function<std::string(std::string token)> text_of;
  bool strips_first_space = false;
};
DecoderStep read_decoder(const nlohmann::json& step, const std::string& origin);

struct SpecialAround {
  std::vector<int64_t> before, after;
};
SpecialAround read_post_processor(const nlohmann::json& step, const std::string& origin);

}  // namespace natrix
