#include "core/hf/config_keys.h"

#include <limits>
#include <nlohmann/json.hpp>

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
