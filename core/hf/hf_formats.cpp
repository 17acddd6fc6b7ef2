#include "core/hf/hf_formats.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using nlohmann::json;

constexpr double kMostParameters = 1e15;
constexpr double kMostTensors = 1e7;

// In doubles, which do not overflow: a wrong config.json must end here and not in the allocator. An upper
// bound: every sublayer counts as the largest that the configuration can make.
void check_size(const ModelConfig& c, const std::string& origin) {
  const auto real = [](int64_t n) { return static_cast<double>(n); };
  const auto d = real(c.d_model);
  const double di = d * real(c.mamba.expand);
  const double mamba = di * (3 * d + real(2 * c.dt_rank() + 3 * c.mamba.d_state + c.mamba.d_conv));
  const double heads = real(c.mamba2_heads()), inner = heads * real(c.mamba2.head_dim);
  const double mamba2 = d * (3 * inner + heads) +
                        2 * real(c.mamba2.n_groups) * real(c.mamba2.d_state) * (d + real(c.mamba2.d_conv));
  const double attention = 2 * d * real(c.attention.num_heads + c.kv_heads()) * real(c.attention_head_dim());
  const double experts = real(c.moe.num_experts);
  const double shared = real(c.moe.shared_experts) * real(c.moe.shared_d_ff.value_or(c.moe.d_ff));
  const double mlp = 3 * d * std::max(experts * real(c.moe.d_ff) + shared, real(c.mlp.d_ff));
  const auto sublayers = real(static_cast<int64_t>(c.sublayers().size()));
  const double largest =
      std::max({mamba, mamba2, attention, mlp}) * (c.pattern.find('(') == std::string::npos ? 1 : 2);
  const double parameters = 2 * d * real(c.vocab_size.value_or(0)) + sublayers * largest;
  const double tensors = 3 + sublayers * std::max(20.0, 3 * (experts + real(c.moe.shared_experts)) + 5);
  if (parameters > kMostParameters || tensors > kMostTensors) {
    throw InputError(
        fmt::format("{}: describes a model of about {:.2g} parameters in {:.2g} tensors; expected at most "
                    "{:g} in {:g}",
                    origin, parameters, tensors, kMostParameters, kMostTensors));
  }
}

[[noreturn]] void refuse(const JsonObject& j, const std::string& model_type, const HfFamilies& families) {
  std::string name = fmt::format("model_type {}", excerpt(model_type));
  if (j.has("architectures") && j.at("architectures").is_array() && !j.at("architectures").empty() &&
      j.at("architectures")[0].is_string()) {
    name = fmt::format("{} ({})", excerpt(j.at("architectures")[0].get<std::string>()), name);
  }
  throw InputError(
      fmt::format("{}: {} is not supported; expected {}", j.origin(), name, readable_hf_families(families)));
}

// What the new file takes over: everything from the same class; from another class the token ids only.
json inherited_keys(const std::string& text, const std::string& model_type) {
  json kept = {{"bos_token_id", nullptr}, {"pad_token_id", nullptr}};  // absent, they would mean id 0 or 1
  if (text.empty()) return kept;
  const json parent = parse_json(text, "the inherited config.json", NonFinite::kTagged);
  if (parent.value("model_type", "") == model_type) kept.update(parent);
  for (const char* id : {"bos_token_id", "pad_token_id", "eos_token_id"}) {
    if (parent.contains(id)) kept[id] = parent[id];
  }
  // These speak of the parent's files: code beside it, its compression, its dtype under the older name.
  for (const char* key : {"auto_map", "quantization_config", "torch_dtype", "_name_or_path"}) kept.erase(key);
  return kept;
}

}  // namespace

ModelConfig parse_hf_config(std::string_view text, const std::string& origin, const HfFamilies& families) {
  const json whole = parse_json(text, origin, NonFinite::kTagged);
  const JsonObject j(whole, origin);
  const std::string model_type = j.text("model_type");
  const HfFamily* family = find_hf_family(model_type, families);
  if (family == nullptr) refuse(j, model_type, families);
  const ModelConfig config = family->read(j);
  check_size(config, origin);
  return config;
}

ModelConfig read_hf_config(const std::string& dir) {
  const std::string path = dir + "/config.json";
  return parse_hf_config(MappedFile(path).text(), path);
}

std::string hf_config_json(const ModelConfig& config, std::optional<int64_t> eos_token_id,
                           const std::string& inherited, const HfFamilies& families) {
  require(config.vocab_size.has_value(), "a config.json needs the size of the vocabulary");
  const json own = hf_family(config, families).write(config);
  json out = inherited_keys(inherited, own["model_type"]);
  out.update(own);
  out["hidden_size"] = config.d_model;
  out["vocab_size"] = *config.vocab_size;
  out["tie_word_embeddings"] = config.tie_embeddings;
  out["dtype"] = "float32";
  if (eos_token_id) {
    out["eos_token_id"] = *eos_token_id;
  } else if (!out.contains("eos_token_id")) {
    out["eos_token_id"] = nullptr;
  }
  return out.dump(2) + "\n";
}

std::string hf_generation_config_json(const std::string& config_json) {
  const json config = parse_json(config_json, "config.json", NonFinite::kTagged);
  json out = {{"_from_model_config", true}};
  for (const char* id : {"bos_token_id", "pad_token_id", "eos_token_id"}) {
    if (config.contains(id) && !config[id].is_null()) out[id] = config[id];
  }
  out["use_cache"] = config.value("use_cache", true);  // generate() does not look into config.json for it
  return out.dump(2) + "\n";
}

std::vector<int64_t> parse_hf_eos_token_ids(std::string_view text, const std::string& origin) {
  const json whole = parse_json(text, origin, NonFinite::kTagged);
  const JsonObject j(whole, origin);
  std::vector<int64_t> ids;
  if (!j.has("eos_token_id") || j.at("eos_token_id").is_null()) return ids;
  const json& eos = j.at("eos_token_id");
  for (const json& id : eos.is_array() ? eos : json::array({eos})) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > uint64_t{INT32_MAX}) {
      j.fail("eos_token_id", "a token id or a list of them");
    }
    if (std::ranges::find(ids, id.get<int64_t>()) == ids.end()) ids.push_back(id.get<int64_t>());
  }
  return ids;
}

std::vector<int64_t> read_hf_eos_token_ids(const std::string& dir) {
  std::vector<int64_t> ids;
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::string path = dir + "/" + name;
    if (!std::filesystem::exists(path)) continue;
    for (const int64_t id : parse_hf_eos_token_ids(MappedFile(path).text(), path)) {
      if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
    }
  }
  return ids;
}

}  // namespace natrix
