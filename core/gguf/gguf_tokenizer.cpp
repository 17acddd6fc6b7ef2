#include "core/gguf/gguf_tokenizer.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/files/json.h"
#include "core/gguf/gguf_vocabulary.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using nlohmann::json;

constexpr const char* kFileKey = "natrix.file.";
constexpr const char* kModelKey = "tokenizer.ggml.model";
constexpr const char* kTemplateKey = "tokenizer.chat_template";

/// How text is split before merging, and llama.cpp's name for it.
struct Splitting {
  std::string_view pattern, name;
};
constexpr Splitting kSplittings[] = {{kLlama3Pattern, "llama-bpe"}, {kQwen2Pattern, "qwen2"}};

const json& member(const json& object, const char* key) {
  static const json kNull;
  return object.is_object() && object.contains(key) ? object[key] : kNull;
}

bool is_text(const json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

/// The stages of the pre-tokenizer, which may be a list or one.
std::vector<json> stages_of(const json& tokenizer) {
  const json& pre = member(tokenizer, "pre_tokenizer");
  const json& list = member(pre, "pretokenizers");
  if (list.is_array()) return list.get<std::vector<json>>();
  return pre.is_object() ? std::vector<json>{pre} : std::vector<json>();
}

/// llama.cpp's name for the splitting; nothing if natrix knows none, "" if the tokenizer is not byte-level.
std::optional<std::string> splitting_of(const json& tokenizer) {
  std::optional<std::string> name = "gpt-2";
  bool bytes = false;
  for (const json& stage : stages_of(tokenizer)) {
    if (is_text(member(stage, "type"), "ByteLevel")) {
      bytes = true;
      continue;
    }
    const json& pattern = member(member(stage, "pattern"), "Regex");
    const auto known =
        std::ranges::find_if(kSplittings, [&](const Splitting& s) { return is_text(pattern, s.pattern); });
    name = known == std::end(kSplittings) ? std::nullopt : std::optional(std::string(known->name));
  }
  if (!is_text(member(member(tokenizer, "model"), "type"), "BPE") || !bytes) return "";
  return name;
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
};

Vocabulary vocabulary_of(const json& tokenizer, int64_t vocab_size) {
  Vocabulary v;
  v.types.assign(static_cast<size_t>(vocab_size), kUnused);
  for (int64_t id = 0; id < vocab_size; ++id) v.tokens.push_back(fmt::format("[PAD{}]", id));
  const auto set = [&](const std::string& token, const json& id, int32_t type) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size)) {
      throw InputError(
          fmt::format("tokenizer.json: the token {} has the id {}; expected one below vocab_size = {}",
                      excerpt(token), excerpt(id.dump()), vocab_size));
    }
    v.tokens[id.get<size_t>()] = token;
    v.types[id.get<size_t>()] = type;
  };
  for (const auto& [token, id] : member(member(tokenizer, "model"), "vocab").items()) set(token, id, kNormal);
  for (const json& added : member(tokenizer, "added_tokens")) {
    const json& content = member(added, "content");
    if (content.is_string())
      set(content, member(added, "id"), member(added, "special") == true ? kControl : kUserDefined);
  }
  return v;
}

/// "a b", as older files have them, also for ["a", "b"].
std::vector<std::string> merges_of(const json& tokenizer) {
  std::vector<std::string> merges;
  for (const json& merge : member(member(tokenizer, "model"), "merges")) {
    const bool pair = merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    if (!pair && !merge.is_string()) throw InputError("tokenizer.json: a merge is not a pair of tokens");
    merges.push_back(pair ? merge[0].get<std::string>() + " " + merge[1].get<std::string>()
                          : merge.get<std::string>());
  }
  return merges;
}

/// Whether a text begins with a special token, as the post-processor says.
bool begins_with_special(const json& tokenizer) {
  const json& post = member(tokenizer, "post_processor");
  std::vector<json> stages = {post};
  if (member(post, "processors").is_array()) stages = post["processors"].get<std::vector<json>>();
  return std::ranges::any_of(stages, [](const json& stage) {
    const json& single = member(stage, "single");
    return single.is_array() && !single.empty() && single[0].is_object() &&
           single[0].contains("SpecialToken");
  });
}

void add_special_ids(const std::string& config_text, GgufMetadata& to) {
  const json config = parse_json(config_text, "config.json", NonFinite::kTagged);
  for (const auto& [name, key] :
       {std::pair("bos_token_id", "bos"), {"eos_token_id", "eos"}, {"pad_token_id", "padding"}}) {
    const json& ids = member(config, name);
    const json& id = ids.is_array() && !ids.empty() ? ids[0] : ids;
    if (id.is_number_unsigned() && id.get<uint64_t>() <= UINT32_MAX)
      to.u32(fmt::format("tokenizer.ggml.{}_token_id", key), id.get<int64_t>());
  }
}

void add_chat_template(const TextFiles& files, GgufMetadata& to) {
  if (const auto jinja = files.find("chat_template.jinja"); jinja != files.end())
    return to.text(kTemplateKey, jinja->second);
  const auto config = files.find("tokenizer_config.json");
  if (config == files.end()) return;
  const json j = parse_json(config->second, "tokenizer_config.json", NonFinite::kTagged);
  if (const json& text = member(j, "chat_template"); text.is_string())
    to.text(kTemplateKey, text.get<std::string>());
}

void add_vocabulary(const json& tokenizer, int64_t vocab_size, GgufMetadata& to,
                    const std::function<void(const std::string&)>& warn) {
  const auto splitting = splitting_of(tokenizer);
  if (splitting == "") {
    to.text(kModelKey, "none");
    return warn("llama.cpp will not find the tokenizer: natrix writes byte-level BPE alone for it");
  }
  if (!splitting)
    warn(
        "llama.cpp will split text as it does by default: natrix does not know its name for the pattern of "
        "this "
        "tokenizer.json");
  const Vocabulary v = vocabulary_of(tokenizer, vocab_size);
  to.text(kModelKey, "gpt2");
  to.text("tokenizer.ggml.pre", splitting.value_or("default"));
  to.texts("tokenizer.ggml.tokens", v.tokens);
  to.i32s("tokenizer.ggml.token_type", v.types);
  to.texts("tokenizer.ggml.merges", merges_of(tokenizer));
  to.boolean("tokenizer.ggml.add_bos_token", begins_with_special(tokenizer));
}

/// Only these may come out of a file that anyone may have written: no weights, no configuration and no code.
bool names_tokenizer_file(std::string_view name) {
  const auto begins = [&](std::string_view stem) { return name.starts_with(stem); };
  const auto ends = [&](std::string_view extension) { return name.ends_with(extension); };
  constexpr std::string_view kStems[] = {
      "tokenizer", "special_tokens_map", "added_tokens", "chat_template", "vocab", "merges", "spiece",
      "tekken",    "sentencepiece",      "tiktoken"};
  constexpr std::string_view kExtensions[] = {".json", ".txt", ".model", ".jinja"};
  return std::ranges::any_of(kStems, begins) && std::ranges::any_of(kExtensions, ends) &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

}  // namespace

void add_tokenizer(const TextFiles& files, const std::string& config, int64_t vocab_size, GgufMetadata& to,
                   const std::function<void(const std::string&)>& warn) {
  const auto found = files.find("tokenizer.json");
  if (found != files.end()) {
    add_vocabulary(parse_json(found->second, "tokenizer.json"), vocab_size, to, warn);
  } else {
    to.text(kModelKey, "none");
    if (!files.empty()) warn("llama.cpp will not find the tokenizer: it is not a tokenizer.json");
  }
  add_special_ids(config, to);
  add_chat_template(files, to);
  for (const auto& [name, text] : files) to.text(kFileKey + name, text);
}

TextFiles read_tokenizer_files(const GgufFile& file, const std::function<void(const std::string&)>& warn) {
  TextFiles files;
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with(kFileKey)) continue;
    const std::string name = key.substr(std::string_view(kFileKey).size());
    if (!names_tokenizer_file(name)) file.fail(key, "the name of a tokenizer's file, such as tokenizer.json");
    files[name] = file.text(key);
  }
  if (files.empty() && file.has(kTemplateKey)) files["chat_template.jinja"] = file.text(kTemplateKey);
  if (files.contains("tokenizer.json") || file.text(kModelKey, "none") == "none") return files;
  try {
    files.merge(vocabulary_files(file));
  } catch (const InputError& e) {
    warn(e.what());
  }
  return files;
}

}  // namespace natrix
