// The tokenizer and chat template of a model in the metadata of a GGUF file.
//
// tokenizer.ggml.* holds a byte-level BPE for llama.cpp, which knows the way that text is split before merging
// only by name. Any other tokenizer is left out ("none": the file then takes and gives token ids). So that
// nothing is lost on the way back, the tokenizer's files are in the metadata as they are, as natrix.file.NAME.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "core/gguf/gguf_file.h"
#include "core/gguf/gguf_writer.h"

namespace natrix {

using TextFiles = std::map<std::string, std::string>;  // by name, such as "tokenizer.json"

/// `config`: the text of config.json, for the ids of special tokens. `warn` hears of what llama.cpp will not
/// know. InputError if tokenizer.json is malformed.
void add_tokenizer(const TextFiles& files, const std::string& config, int64_t vocab_size, GgufMetadata& to,
                   const std::function<void(const std::string&)>& warn);

/// The tokenizer's files for a Hugging Face directory: those that natrix put into the file, else what can be made of
/// the chat template and the vocabulary (gguf_vocabulary.h). `warn` hears of a vocabulary that stays behind.
TextFiles read_tokenizer_files(const GgufFile& file, const std::function<void(const std::string&)>& warn);

}  // namespace natrix
