// A model that a user names, whatever it is stored as: a Hugging Face directory (a run's checkpoint is one) or a
// GGUF file. Whoever needs something of a model's files asks here, after resolve_model_dir().
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/hf/model_source.h"
#include "core/text/own_tokenizer.h"

namespace natrix {

/// Config and weights.
ModelSource open_model(const std::string& path);
/// The text of config.json; of a GGUF file what it would be.
std::string model_config_text(const std::string& path);
/// The ids that end a document, each once.
std::vector<int64_t> model_eos_token_ids(const std::string& path);
/// tokenizer_of() and tokenizer_files() (core/text/own_tokenizer.h).
OwnTokenizer model_tokenizer(const std::string& path);
std::map<std::string, std::string> model_tokenizer_files(const std::string& path);

}  // namespace natrix
