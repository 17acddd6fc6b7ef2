#include "core/hf/config_keys.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/base/check.h"

namespace natrix::hf {
namespace {

/// nothing for what is no number of at least 0.
std::optional<double> limit_in(const nlohmann::json& value) {
  if (value == nlohmann::json{{"__float__", "Infinity"}}) return std::numeric_limits<double>::infinity();
  if (!value.is_number() || value.get<double>() < 0) return std::nullopt;
  return value.get<double>();
}

}  // namespace

void set_stack(ModelConfig& c, const std::string& stack) {
  const size_t n = stack.size();
  for (size_t unit = 1; unit <= n; ++unit) {
    if (n % unit != 0 || stack.compare(unit, n - unit, stack, 0, n - unit) != 0) continue;
    c.pattern = stack.substr(0, unit);
    c.repeat = static_cast<int64_t>(n / unit);
    return;
  }
}

bool stack_holds(const ModelConfig& c, char letter) {
  return c.pattern.find(letter) != std::string::npos;
}

bool given(const JsonObject& j, const std::string& key) {
  return j.has(key) && !j.at(key).is_null();
}

void read_common(const JsonObject& j, bool tied, ModelConfig& c) {
  c.d_model = j.integer("hidden_size", 1, kMostWidth);
  c.vocab_size = j.integer("vocab_size", 1, kMostVocabulary);
  c.tie_embeddings = j.boolean("tie_word_embeddings", tied);
}

int64_t dt_rank(const JsonObject& j, const std::string& key, int64_t d_model) {
  if (!j.has(key) || (j.at(key).is_string() && j.text(key) == "auto")) return (d_model + 15) / 16;
  return j.integer(key, 1, kMostWidth);
}

void expect_silu(const JsonObject& j, const std::string& key) {
  if (j.text(key, "silu") != "silu") j.fail(key, "\"silu\"");
}

void expect_false(const JsonObject& j, const std::string& key) {
  if (given(j, key) && j.boolean(key)) j.fail(key, "false: natrix has no such layer");
}

void expect_null(const JsonObject& j, const std::string& key) {
  if (given(j, key)) j.fail(key, "null: natrix cannot run this");
}

double multiplier(const JsonObject& j, const std::string& key) {
  return given(j, key) ? j.number(key, -kMostMultiplier, kMostMultiplier) : 1;
}

std::vector<double> multipliers(const JsonObject& j, const std::string& key, size_t count) {
  std::vector<double> list(count, 1.0);
  if (!given(j, key)) return list;
  const nlohmann::json& values = j.at(key);
  const auto fits = [](const nlohmann::json& v) {
    return v.is_number() && std::abs(v.get<double>()) <= kMostMultiplier;
  };
  if (!values.is_array() || values.size() != count || !std::ranges::all_of(values, fits))
    j.fail(key, fmt::format("a list of {} numbers", count));
  for (size_t i = 0; i < count; ++i) list[i] = values[i].get<double>();
  return list;
}

nlohmann::json limits_json(double least, double most) {
  const auto json_of = [](double v) -> nlohmann::json {
    if (std::isinf(v)) return {{"__float__", "Infinity"}};
    return v;
  };
  return nlohmann::json::array({json_of(least), json_of(most)});
}

std::string letters_of(const JsonObject& j, const std::string& key, const std::vector<LayerName>& names,
                       std::optional<int64_t> length) {
  const nlohmann::json& list = j.at(key);
  std::string known, letters;
  for (const LayerName& n : names) known += fmt::format("{}\"{}\"", known.empty() ? "" : ", ", n.name);
  if (!list.is_array() || list.empty() || list.size() > static_cast<size_t>(kMostLayers))
    j.fail(key, "a list of " + known);
  if (length && list.size() != static_cast<size_t>(*length))
    j.fail(key, fmt::format("an array of num_hidden_layers = {}", *length));
  for (const nlohmann::json& kind : list) {
    const auto found =
        std::ranges::find_if(names, [&](const LayerName& n) { return kind == nlohmann::json(n.name); });
    if (found == names.end()) {
      throw InputError(fmt::format("{}: key {} holds {}; expected a list of {}", j.origin(), excerpt(key),
                                   kind.is_string() ? excerpt(kind.get<std::string>()) : kind.type_name(),
                                   known));
    }
    letters += found->letter;
  }
  return letters;
}

std::pair<double, double> limits(const JsonObject& j, const std::string& key,
                                 std::pair<double, double> fallback) {
  if (!j.has(key)) return fallback;
  const nlohmann::json& pair = j.at(key);
  if (pair.is_array() && pair.size() == 2) {
    const auto least = limit_in(pair[0]), most = limit_in(pair[1]);
    if (least && most && *least <= *most) return {*least, *most};
  }
  j.fail(key, "two numbers of at least 0 in ascending order, such as [0.0, Infinity]");
}

}  // namespace natrix::hf
