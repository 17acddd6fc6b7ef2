#include "core/gguf/gguf_vocabulary.h"

#include <algorithm>
#include <fmt/format.h>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kFalconMarks = R"([\p{P}\$\+<=>\^~\|`]+)";

Json split(std::string_view pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", std::string(pattern)}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}
Json byte_level(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}
Json sequence(std::initializer_list<Json> steps) {
  return {{"type", "Sequence"}, {"pretokenizers", Json::array_t(steps)}};
}

/// How text is split before merging.
struct Division {
  Json steps;
  bool ignore_merges = false;
};

/// By llama.cpp's names.
Division division_of(const GgufFile& file) {
  const std::string name(file.text("tokenizer.ggml.pre", "gpt-2"));
  const auto one_of = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::find(names, name) != names.end();
  };
  if (one_of({"gpt-2", "phi-2", "mpt", "olmo", "roberta-bpe", "exaone4"})) return {byte_level(true)};
  if (one_of({"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"}))
    return {sequence({Json{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)})};
  if (one_of({"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "lfm2"}))
    return {sequence({split(kLlama3Pattern), byte_level(false)}), true};
  if (one_of({"dbrx", "smaug-bpe"})) return {sequence({split(kLlama3Pattern), byte_level(false)})};
  if (one_of({"qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "kormo"}))
    return {sequence({split(kQwen2Pattern), byte_level(false)})};
  if (name == "tekken") return {sequence({split(kTekken), byte_level(false)}), true};
  if (name == "falcon") return {sequence({split(kFalconMarks), byte_level(true), split("[0-9][0-9][0-9]")})};
  throw InputError(
      fmt::format("{}: tokenizer.ggml.pre is {}, a way to split text that natrix does not know; give the "
                  "original tokenizer.json with "
                  "--tokenizer",
                  file.origin(), excerpt(name)));
}

Json merges_of(const GgufFile& file) {
  Json merges = Json::array();
  for (const std::string_view merge : file.texts("tokenizer.ggml.merges")) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos)
      file.fail("tokenizer.ggml.merges", "pairs of tokens with a space between them");
    merges.push_back({std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))});
  }
  return merges;
}

}  // namespace

std::map<std::string, std::string> vocabulary_files(const GgufFile& file) {
  if (const std::string_view model = file.text("tokenizer.ggml.model"); model != "gpt2") {
    throw InputError(fmt::format(
        "{}: a vocabulary of type {} is not supported, only gpt2 (byte-level BPE); give the original "
        "tokenizer.json with --tokenizer",
        file.origin(), excerpt(model)));
  }
  const std::vector<std::string_view> tokens = file.texts("tokenizer.ggml.tokens");
  const std::vector<int64_t> types = file.integers("tokenizer.ggml.token_type");
  if (types.size() != tokens.size())
    file.fail("tokenizer.ggml.token_type", fmt::format("{} values, one a token", tokens.size()));
  Json vocabulary = Json::object(), added = Json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string token(tokens[id]);
    if (types[id] == kUnused) continue;
    if (types[id] != kControl && types[id] != kUserDefined) {
      vocabulary[token] = id;
      continue;
    }
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types[id] == kControl}});
  }
  const Division division = division_of(file);
  const Json tokenizer = {{"version", "1.0"},
                          {"added_tokens", added},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", division.steps},
                          {"post_processor", nullptr},
                          {"decoder", byte_level(true)},
                          {"model",
                           {{"type", "BPE"},
                            {"ignore_merges", division.ignore_merges},
                            {"vocab", vocabulary},
                            {"merges", merges_of(file)}}}};
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  for (const std::string name : {"bos", "eos"}) {
    const int64_t id = file.integer("tokenizer.ggml." + name + "_token_id", -1, INT64_MAX, -1);
    if (0 <= id && id < static_cast<int64_t>(tokens.size()))
      config[name + "_token"] = std::string(tokens[static_cast<size_t>(id)]);
  }
  constexpr auto kReplace = Json::error_handler_t::replace;
  return {{"tokenizer.json", tokenizer.dump(-1, ' ', false, kReplace)},
          {"tokenizer_config.json", config.dump(2, ' ', false, kReplace)}};
}

}  // namespace natrix
