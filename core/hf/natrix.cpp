// Our own layout, for every model that no class of transformers can say: the block model of an experiment in
// config.json, under "natrix", and one sublayer a layer. The keys are those of the list of fields
// (configs/schema/fields.cpp).
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>

#include "configs/schema/field.h"
#include "configs/schema/validate.h"
#include "core/hf/families.h"

namespace natrix {
namespace {

constexpr const char* kBlock = "natrix";

/// "model.moe.top_k" is the key top_k of the section moe; keys such as model.d_model have none.
struct Place {
  std::string section, name;
};

Place place_of(const std::string& key) {
  const size_t start = key.find('.') + 1, dot = key.find('.', start);
  if (dot == std::string::npos) return {.section = "", .name = key.substr(start)};
  return {.section = key.substr(start, dot - start), .name = key.substr(dot + 1)};
}

/// The fields that the block holds.
std::vector<Field> stored_fields(ModelConfig& c) {
  std::vector<Field> fields = model_fields_of(c);
  std::erase_if(fields, [](const Field& f) { return f.is_path; });  // where the first weights came from
  return fields;
}

std::optional<Scalar> scalar_in(const nlohmann::json& value) {
  if (value.is_null()) return Scalar();
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return value.get<double>();
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)
                                               : value.is_number_integer();
  return fits ? std::optional<Scalar>(value.get<int64_t>()) : std::nullopt;
}

nlohmann::json json_of(const Scalar& value) {
  return std::visit(
      [](const auto& v) -> nlohmann::json {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>) {
          return nullptr;
        } else {
          return v;
        }
      },
      value);
}

void refuse_unknown(const JsonObject& block, const std::vector<Field>& fields) {
  std::map<std::string, std::vector<std::string>> known;  // by section
  for (const Field& f : fields) {
    const Place at = place_of(f.key);
    known[at.section].push_back(at.name);
  }
  for (const auto& [section, names] : known) {
    if (!section.empty()) known[""].push_back(section);
  }
  for (const auto& [section, names] : known) {
    if (section.empty()) block.allow_only(names);
    if (block.has(section)) block.object(section).allow_only(names);
  }
}

ModelConfig read_natrix(const JsonObject& config) {
  const JsonObject block = config.object(kBlock);
  ModelConfig c;
  const std::vector<Field> fields = stored_fields(c);
  refuse_unknown(block, fields);
  for (const Field& f : fields) {
    const Place at = place_of(f.key);
    if (!f.needed && !at.section.empty() && !block.has(at.section)) continue;
    const JsonObject j = at.section.empty() ? block : block.object(at.section);
    if (!f.needed && !j.has(at.name)) continue;
    const std::optional<Scalar> value = scalar_in(j.at(at.name));
    if (!value || !f.set(*value)) j.fail(at.name, f.expects);
  }
  if (!c.vocab_size) block.fail("vocab_size", "an integer");
  for (const Contradiction& found : contradictions(c)) {
    const std::string key = kBlock + found.key.substr(found.key.find('.'));
    throw InputError(fmt::format("{}: key {}: {}", config.origin(), excerpt(key), found.what));
  }
  c.mamba.dt_rank = c.dt_rank();
  return c;
}

nlohmann::json write_natrix(const ModelConfig& config) {
  ModelConfig c = config;
  c.mamba.dt_rank = c.dt_rank();
  nlohmann::json block;
  ModelConfig defaults;
  const std::vector<Field> usual = stored_fields(defaults), fields = stored_fields(c);
  for (size_t i = 0; i < fields.size(); ++i) {
    const Field& f = fields[i];
    if (!f.needed && f.get() == usual[i].get()) continue;  // absence says it, to older programs too
    const Place at = place_of(f.key);
    (at.section.empty() ? block : block[at.section])[at.name] = json_of(f.get());
  }
  return {{"architectures", {"NatrixForCausalLM"}},
          {"model_type", "natrix"},
          {"num_hidden_layers", c.sublayers().size()},
          {"use_cache", true},
          {kBlock, block}};
}

HfNames natrix_names(const ModelConfig&) {
  return {.embedding = "backbone.embeddings.weight",
          .final_norm = "backbone.norm_f.weight",
          .norm = [](int i) { return fmt::format("backbone.layers.{}.norm.weight", i); },
          .block = [](int i) { return fmt::format("backbone.layers.{}.mixer.", i); }};
}

}  // namespace

HfFamily natrix_family() {
  return {.model_type = "natrix",
          .name = "natrix",
          .reads = "what natrix itself saves",
          .holds_training_settings = true,
          .read = read_natrix,
          .expresses = [](const ModelConfig&) { return true; },
          .write = write_natrix,
          .names = natrix_names};
}

}  // namespace natrix
