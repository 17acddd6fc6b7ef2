// The vocabulary of a GGUF file as a tokenizer.json, so that everything that reads tokenizers reads it too.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/gguf/gguf_file.h"

namespace natrix {

/// tokenizer.ggml.token_type, by llama.cpp's numbers.
inline constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

/// The patterns of Llama 3 and Qwen 2, as their tokenizer.json spells them.
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// tokenizer.json and tokenizer_config.json (eos_token, bos_token) made of tokenizer.ggml.*. InputError, which names what
/// is unknown, unless it is a byte-level BPE (tokenizer.ggml.model "gpt2") whose way of splitting text
/// (tokenizer.ggml.pre) natrix knows.
std::map<std::string, std::string> vocabulary_files(const GgufFile& file);

}  // namespace natrix
