#include "core/tokenizers/tokenizer_json.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "core/files/xxhash64.h"
#include "core/tokenizers/bpe.h"
#include "core/tokenizers/byte_letters.h"
#include "core/tokenizers/json_steps.h"
#include "core/tokenizers/pipeline.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using nlohmann::json;

constexpr int64_t kMostIds = int64_t{1} << 24;

std::vector<AddedToken> read_added(const JsonObject& file) {
  std::vector<AddedToken> tokens;
  if (!file.has("added_tokens") || file.at("added_tokens").is_null()) return tokens;
  const json& list = file.at("added_tokens");
  if (!list.is_array()) file.fail("added_tokens", "a list");
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonObject t(list[i], file.origin(), fmt::format("added_tokens[{}].", i));
    tokens.push_back({.id = t.integer("id", 0, kMostIds - 1),
                      .content = t.text("content"),
                      .single_word = t.boolean("single_word", false),
                      .lstrip = t.boolean("lstrip", false),
                      .rstrip = t.boolean("rstrip", false),
                      .normalized = t.boolean("normalized", true),
                      .special = t.boolean("special", false)});
  }
  return tokens;
}

/// The vocabulary by id, spelled as in the file.
std::vector<std::string> read_vocabulary(const JsonObject& model) {
  const json& vocab = model.at("vocab");
  if (!vocab.is_object() || vocab.empty()) model.fail("vocab", "an object of tokens and their ids");
  std::vector<std::string> tokens;
  for (const auto& [token, value] : vocab.items()) {
    if (!value.is_number_integer() || value < 0 || value >= kMostIds)
      throw InputError(fmt::format("{}: model.vocab gives {} the id {}; expected an integer from 0 to {}",
                                   model.origin(), excerpt(token), excerpt(value.dump()), kMostIds - 1));
    const auto id = value.get<size_t>();
    if (id >= tokens.size()) tokens.resize(id + 1);
    if (!tokens[id].empty())
      throw InputError(fmt::format("{}: model.vocab gives {} and {} the same id {}", model.origin(),
                                   excerpt(tokens[id]), excerpt(token), id));
    tokens[id] = token;
  }
  return tokens;
}

/// Merges are ["a", "b"] or, in older files, "a b".
std::vector<std::pair<std::string, std::string>> read_merges(const JsonObject& model) {
  const json& list = model.at("merges");
  if (!list.is_array()) model.fail("merges", "a list of pairs");
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(list.size());
  for (const json& m : list) {
    if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string()) {
      merges.emplace_back(m[0].get<std::string>(), m[1].get<std::string>());
      continue;
    }
    const std::string text = m.is_string() ? m.get<std::string>() : std::string();
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
      throw InputError(fmt::format("{}: model.merges[{}] is {}; expected two tokens", model.origin(),
                                   merges.size(), excerpt(m.dump())));
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

/// A token's bytes in a byte-level vocabulary. A token with other characters stands for itself.
std::string bytes_of(const std::string& token) {
  return bytes_of_letters(token).value_or(token);
}

void refuse_what_is_not_read(const JsonObject& model) {
  const auto is_set = [&](const char* key) {
    return model.has(key) && !model.at(key).is_null() && model.at(key) != "" && model.at(key) != 0.0;
  };
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    if (is_set(key))
      throw InputError(fmt::format("{}: model.{} is not supported; docs/tokenizers.md lists what is",
                                   model.origin(), key));
  }
}

BpeSpec read_bpe(const JsonObject& model, std::vector<std::string> tokens, bool byte_level) {
  refuse_what_is_not_read(model);
  BpeSpec spec{.tokens = std::move(tokens),
               .merges = read_merges(model),
               .by_bytes = byte_level,
               .ignore_merges = model.boolean("ignore_merges", false),
               .byte_fallback = model.boolean("byte_fallback", false),
               .unknown = {},
               .fuse_unknown = model.boolean("fuse_unk", false)};
  if (model.has("unk_token") && !model.at("unk_token").is_null()) {
    const auto found = std::ranges::find(spec.tokens, model.text("unk_token"));
    if (found == spec.tokens.end()) model.fail("unk_token", "a token of the vocabulary");
    spec.unknown = found - spec.tokens.begin();
  }
  if (byte_level) {
    for (std::string& token : spec.tokens) token = bytes_of(token);
    for (auto& [left, right] : spec.merges) {
      left = bytes_of(left);
      right = bytes_of(right);
    }
  }
  return spec;
}

/// Sets what each id decodes to.
void set_texts(TokenizerParts& parts, const std::vector<std::string>& tokens, const DecoderStep& decoder) {
  for (const std::string& token : tokens) parts.text_of_id.push_back(decoder.text_of(token));
  parts.special.resize(tokens.size());
  for (const AddedToken& t : parts.added) {
    const auto id = static_cast<size_t>(t.id);
    if (id >= parts.text_of_id.size()) {
      parts.text_of_id.resize(id + 1);
      parts.special.resize(id + 1);
    }
    parts.text_of_id[id] = decoder.text_of(t.content);
    parts.special[id] = t.special;
  }
}

}  // namespace

std::unique_ptr<Tokenizer> read_tokenizer_json(const std::string& path, const std::string& eod) {
  const MappedFile file(path);
  return parse_tokenizer_json(file.text(), path, eod);
}

std::unique_ptr<Tokenizer> parse_tokenizer_json(std::string_view text, const std::string& path,
                                                const std::string& eod) {
  const json root = parse_json(text, path);
  Xxhash64 hash;
  hash.add(text);
  const JsonObject file(root, path);
  const JsonObject model = file.object("model");
  const auto member = [&](const char* key) { return file.has(key) ? file.at(key) : json(); };
  // Very old files do not name the type of their model.
  const std::string type = model.text("type", model.has("merges") ? "BPE" : "");
  if (type != "BPE")
    throw InputError(fmt::format("{}: model of type {} is not supported; docs/tokenizers.md lists what is",
                                 path, excerpt(type)));
  PreTokenizerStep pretokenizer = read_pretokenizer(member("pre_tokenizer"), path);
  const SpecialAround around = read_post_processor(member("post_processor"), path);
  BpeSpec spec = read_bpe(model, read_vocabulary(model), pretokenizer.byte_level);
  const DecoderStep decoder = read_decoder(member("decoder"), path);
  TokenizerParts parts{.name = path,
                       .identity = "tokenizer.json " + hash.hex(),
                       .added = read_added(file),
                       .normalizer = read_normalizer(member("normalizer"), path),
                       .pretokenizer = std::move(pretokenizer.step),
                       .model = {},
                       .text_of_id = {},
                       .special = {},
                       .normalizes_words_apart = normalizes_words_apart(member("normalizer")),
                       .strips_first_space = decoder.strips_first_space,
                       .before = around.before,
                       .after = around.after};
  set_texts(parts, spec.tokens, decoder);
  for (const AddedToken& t : parts.added) {
    if (!eod.empty() && t.content == eod) parts.eod = t.id;
  }
  parts.model = make_bpe(std::move(spec), path);
  return make_pipeline(std::move(parts));
}

}  // namespace natrix
