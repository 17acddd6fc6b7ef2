#include "core/io/byte_tokenizer_json.h"

#include <nlohmann/json.hpp>

#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr const char* kEndOfText = "<|endoftext|>";
constexpr int64_t kBytes = 256;

using Json = nlohmann::ordered_json;  // the vocabulary in the order of its ids

std::string utf8(int code_point) {  // below 0x800
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xc0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3f))};
}

// GPT-2's alphabet writes every byte as one visible character: printable Latin-1 as itself, the others as
// U+0100 onwards in order.
Json byte_alphabet() {
  Json vocabulary = Json::object();
  int next_stand_in = 0x100;
  for (int byte = 0; byte < kBytes; ++byte) {
    const bool printable =
        (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);  // 0xad: soft hyphen
    vocabulary[utf8(printable ? byte : next_stand_in++)] = byte;
  }
  return vocabulary;
}

bool has_end(int64_t vocab_size) {
  require(vocab_size == kBytes || vocab_size == kBytes + 1, "a byte-level vocabulary has 256 or 257 ids");
  return vocab_size > kBytes;
}

}  // namespace

std::string byte_tokenizer_json(int64_t vocab_size) {
  Json added = Json::array();
  if (has_end(vocab_size)) {
    added.push_back({{"id", kBytes},
                     {"content", kEndOfText},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", added},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", byte_level},
                          {"post_processor", nullptr},
                          {"decoder", byte_level},
                          {"model",
                           {{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"ignore_merges", false},
                            {"vocab", byte_alphabet()},
                            {"merges", Json::array()}}}};
  return tokenizer.dump(2) + "\n";
}

std::string byte_tokenizer_config_json(int64_t vocab_size) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},       // decoding must return the bytes as they were
                 {"model_max_length", 1'000'000'000'000'000}};  // there is no limit
  if (has_end(vocab_size)) config["eos_token"] = kEndOfText;
  return config.dump(2) + "\n";
}

}  // namespace natrix
