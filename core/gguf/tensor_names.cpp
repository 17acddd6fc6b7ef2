#include "core/gguf/tensor_names.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "core/hf/families.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr std::string_view kBlock = "blk.";

/// Takes a number without leading zeros off the front of `text`; nothing if there is none.
std::optional<int64_t> take_number(std::string_view& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto digits = static_cast<size_t>(end - text.data());
  if (error != std::errc() || value < 0 || text[0] == '-' || (digits > 1 && text[0] == '0'))
    return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

struct LayerName {
  int64_t layer = 0;
  std::string_view rest;
};

/// "blk.3.ssm_a" is layer 3 and "ssm_a".
std::optional<LayerName> split_name(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const auto layer = take_number(name);
  if (!layer || !name.starts_with('.')) return std::nullopt;
  return LayerName{*layer, name.substr(1)};
}

/// The number in place of '#' in `pattern`, 0 if it has none; nothing if the name is another.
std::optional<int64_t> match_pattern(std::string_view name, std::string_view pattern) {
  const size_t hash = pattern.find('#');
  if (hash == std::string_view::npos) return name == pattern ? std::optional<int64_t>(0) : std::nullopt;
  if (!name.starts_with(pattern.substr(0, hash))) return std::nullopt;
  name.remove_prefix(hash);
  const auto number = take_number(name);
  return number && name == pattern.substr(hash + 1) ? number : std::nullopt;
}

}  // namespace

TensorNames::TensorNames(const GgufArchitecture& architecture, const ModelConfig& config)
    : rules_(architecture.rules(config)) {
  const HfNames names = hf_names(config);
  const auto add_once = [&](const char* gguf, const std::string& hf) {
    if (std::ranges::find(rules_, gguf, &TensorRule::gguf) == rules_.end())
      rules_.push_back({.gguf = gguf, .hf = hf, .once = true});
  };
  add_once("token_embd.weight", names.embedding);
  add_once("output_norm.weight", names.final_norm);
  if (!config.tie_embeddings) add_once("output.weight", names.head);
  const std::string norm = names.norm(0);
  const size_t number = norm.find(".0.");
  require(number != std::string::npos, "a family whose layers have no numbers");
  layers_ = norm.substr(0, number + 1);
}

std::vector<TensorNames::Match> TensorNames::of_hf(std::string_view name) const {
  const auto split = split_name(name, layers_);
  std::vector<Match> matches;
  for (const TensorRule& rule : rules_) {
    if (rule.once ? rule.hf == name : split.has_value()) {
      const auto expert = rule.once ? std::optional<int64_t>(0) : match_pattern(split->rest, rule.hf);
      if (expert) matches.push_back({&rule, rule.once ? 0 : split->layer, *expert});
    }
  }
  return matches;
}

std::optional<TensorNames::Match> TensorNames::of_gguf(std::string_view name) const {
  const auto split = split_name(name, kBlock);
  for (const TensorRule& rule : rules_) {
    if (rule.once ? rule.gguf == name : split && rule.gguf == split->rest)
      return Match{&rule, rule.once ? 0 : split->layer, 0};
  }
  return std::nullopt;
}

std::string TensorNames::hf_name(const Match& m) const {
  if (m.rule->once) return m.rule->hf;
  std::string name = m.rule->hf;
  const size_t hash = name.find('#');
  if (hash != std::string::npos) name.replace(hash, 1, std::to_string(m.expert));
  return fmt::format("{}{}.{}", layers_, m.layer, name);
}

std::string TensorNames::gguf_name(const Match& m) const {
  return m.rule->once ? m.rule->gguf : fmt::format("{}{}.{}", kBlock, m.layer, m.rule->gguf);
}

}  // namespace natrix
