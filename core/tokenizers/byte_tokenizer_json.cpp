#include "core/tokenizers/byte_tokenizer_json.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/files/json.h"
#include "core/tokenizers/byte_letters.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr const char* kEndOfText = "<|endoftext|>";
constexpr int64_t kIds = 256;  // one a byte

using Json = nlohmann::ordered_json;  // the vocabulary in the order of its ids

std::vector<std::string> byte_alphabet() {
  std::vector<std::string> letters;
  for (int byte = 0; byte < kIds; ++byte)
    letters.push_back(letters_of_bytes(std::string(1, static_cast<char>(byte))));
  return letters;
}

Json byte_vocabulary() {
  Json vocabulary = Json::object();
  for (const std::string& letter : byte_alphabet()) vocabulary[letter] = vocabulary.size();
  return vocabulary;
}

bool has_end(int64_t vocab_size) {
  require(vocab_size == kIds || vocab_size == kIds + 1, "a byte-level vocabulary has 256 or 257 ids");
  return vocab_size > kIds;
}

/// A member of an object, null for one that is absent and for what is no object.
const nlohmann::json& member(const nlohmann::json& object, const char* key) {
  static const nlohmann::json kNull;
  const bool there = object.is_object() && object.contains(key);
  return there ? object[key] : kNull;
}

std::string text_of(const nlohmann::json& object, const char* key, const char* fallback) {
  const nlohmann::json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : fallback;
}

bool is_byte_level(const nlohmann::json& stage) {
  return text_of(stage, "type", "") == "ByteLevel" && member(stage, "add_prefix_space") != true;
}

/// The first letter whose id is not its byte.
std::optional<std::string> wrong_letter(const nlohmann::json& vocabulary) {
  int byte = 0;
  for (const std::string& letter : byte_alphabet()) {
    const nlohmann::json& id = member(vocabulary, letter.c_str());
    if (id != byte) {
      return id.is_null() ? fmt::format("without one for the byte {}", byte)
                          : fmt::format("in which the byte {} has {}", byte,
                                        id.is_number() ? "the id " + id.dump() : "no number for its id");
    }
    ++byte;
  }
  return {};
}

/// Entries beyond the bytes: only the end of a document, with the id 256.
std::optional<std::string> wrong_entry(const nlohmann::json& tokenizer, bool& ends) {
  const auto more = [&](const std::string& name, const nlohmann::json& id) -> std::optional<std::string> {
    ends = ends || id == kIds;
    if (id == kIds) return {};
    return fmt::format("with an entry {} besides the bytes", excerpt(name));
  };
  const std::vector<std::string> letters = byte_alphabet();
  for (const auto& [name, id] : member(member(tokenizer, "model"), "vocab").items()) {
    if (std::find(letters.begin(), letters.end(), name) != letters.end()) continue;
    if (const auto wrong = more(name, id)) return wrong;
  }
  for (const nlohmann::json& added : member(tokenizer, "added_tokens")) {
    if (const auto wrong = more(text_of(added, "content", ""), member(added, "id"))) return wrong;
  }
  return {};
}

}  // namespace

std::string byte_tokenizer_json(int64_t vocab_size) {
  Json added = Json::array();
  if (has_end(vocab_size)) {
    added.push_back({{"id", kIds},
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
                            {"vocab", byte_vocabulary()},
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

std::map<std::string, std::string> byte_tokenizer_files(int64_t vocab_size) {
  return {{"tokenizer.json", byte_tokenizer_json(vocab_size)},
          {"tokenizer_config.json", byte_tokenizer_config_json(vocab_size)}};
}

TokenizerJson describe_tokenizer_json(const nlohmann::json& tokenizer) {
  const nlohmann::json &model = member(tokenizer, "model"), &merges = member(model, "merges");
  const std::string type = text_of(model, "type", "BPE");  // old files do not say it
  const std::string size =
      fmt::format("{} tokenizer of {} entries", excerpt(type), member(model, "vocab").size());
  if (type != "BPE") return {.what = "a " + size};
  if (!merges.empty()) return {.what = fmt::format("a {} with {} merges", size, merges.size())};
  const auto other = [&](const std::string& why) {
    return TokenizerJson{.what = fmt::format("a {} {}", size, why)};
  };
  if (const auto wrong = wrong_letter(member(model, "vocab"))) return other(*wrong);
  for (const char* stage : {"pre_tokenizer", "decoder"}) {
    if (!is_byte_level(member(tokenizer, stage)))
      return other(fmt::format("whose {} is not plain ByteLevel", stage));
  }
  for (const char* stage : {"normalizer", "post_processor"}) {
    const nlohmann::json& value = member(tokenizer, stage);
    if (!value.is_null() && (stage[0] == 'n' || text_of(value, "type", "") != "ByteLevel")) {
      return other(fmt::format("with a {} of its own", stage));
    }
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!text_of(model, affix, "").empty()) return other(fmt::format("with a {}", affix));
  }
  bool ends = false;
  if (const auto wrong = wrong_entry(tokenizer, ends)) return other(*wrong);
  return {.bytes = true, .has_end = ends, .what = "bytes"};
}

TokenizerJson describe_tokenizer_text(std::string_view text, const std::string& origin) {
  return describe_tokenizer_json(parse_json(text, origin));
}

}  // namespace natrix
