#include "launch/layer_kinds.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/files/json.h"
#include "core/layers/attention.h"
#include "core/layers/mamba1.h"
#include "core/layers/mamba2.h"
#include "core/layers/mlp.h"
#include "core/layers/parallel.h"
#include "core/layers/scaled.h"
#include "moe/moe_layer.h"

namespace natrix {

LayerKinds::LayerKinds(std::vector<LayerKind> rows) : rows_(std::move(rows)) {
  for (const LayerKind& kind : rows_)
    require(find(kind.letter) == &kind, "two layer kinds have the same letter");
}

const LayerKind* LayerKinds::find(char letter) const {
  const auto found = std::ranges::find(rows_, letter, &LayerKind::letter);
  return found == rows_.end() ? nullptr : &*found;
}

std::string LayerKinds::known_letters() const {
  std::string known;
  for (const LayerKind& kind : rows_)
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", kind.letter, kind.name);
  return known;
}

void LayerKinds::check(const std::string& pattern, const std::string& where) const {
  for (const char letter : pattern) {
    if (find(letter) != nullptr || letter == '(' || letter == ')') continue;
    std::string shown = excerpt({&letter, 1});  // a letter from a file may be any byte
    shown.front() = shown.back() = '\'';
    throw InputError(fmt::format("{}: {} is not a layer that natrix has; the letters are {}", where, shown,
                                 known_letters()));
  }
  check_groups(pattern, where);
}

void LayerKinds::check_groups(const std::string& pattern, const std::string& where) const {
  size_t open = std::string::npos;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const bool inside = open != std::string::npos;
    const char letter = pattern[i];
    const bool fits = letter == '('   ? !inside
                      : letter == ')' ? inside && i - open > 2
                                      : !inside || find(letter)->in_group != nullptr;
    if (!fits) {
      throw InputError(fmt::format(
          "{}: '{}' cannot stand at place {} of {}; parentheses hold two or more mixers in parallel, as (S*)",
          where, letter, i + 1, excerpt(pattern)));
    }
    if (letter == '(') open = i;
    if (letter == ')') open = std::string::npos;
  }
  if (open != std::string::npos)
    throw InputError(fmt::format("{}: a parenthesis of {} is not closed", where, excerpt(pattern)));
}

std::string LayerKinds::without_bf16(const std::string& stack) const {
  std::string found;
  for (const LayerKind& kind : rows_) {
    if (kind.has_bf16 || stack.find(kind.letter) == std::string::npos) continue;
    found += fmt::format("{}{} ({})", found.empty() ? "" : ", ", kind.letter, kind.name);
  }
  return found;
}

void LayerKinds::check_bf16(const std::string& stack) const {
  const std::string missing = without_bf16(stack);
  if (missing.empty()) return;
  throw InputError(
      fmt::format("dtype bf16: these layers of the model compute in fp32 only: {}; use --dtype fp32 (or "
                  "device.dtype: fp32)",
                  missing));
}

bool LayerKinds::uses(const std::string& stack, const std::string& key) const {
  return std::ranges::none_of(rows_, [&](const LayerKind& kind) {
    const std::string section = kind.section;
    return !section.empty() && key.starts_with(section + ".") && stack.find(kind.letter) == std::string::npos;
  });
}

std::unique_ptr<Layer> LayerKinds::make(const std::string& letters, const LayerSite& site) const {
  check(letters);
  return letters.size() == 1 ? find(letters[0])->make(site) : make_group(letters, site);
}

std::unique_ptr<Layer> LayerKinds::make_group(const std::string& letters, const LayerSite& site) const {
  std::vector<std::unique_ptr<Layer>> mixers;
  int part = site.first_part;
  for (const char letter : letters) {
    const LayerKind& kind = *find(letter);
    const std::string prefix = site.prefix + kind.in_group + ".";
    mixers.push_back(kind.make({.config = site.config,
                                .sublayer = site.sublayer,
                                .first_part = part,
                                .prefix = prefix,
                                .exchange = site.exchange}));
    part += static_cast<int>(mixers.back()->carries().size());
  }
  return std::make_unique<Parallel>(std::move(mixers));
}

const LayerKinds& builtin_layer_kinds() {
  static const LayerKinds kinds({
      {'M', "Mamba-1", "model.mamba",
       [](const LayerSite& s) -> std::unique_ptr<Layer> {
         return std::make_unique<Mamba1>(s.config, s.sublayer, s.prefix);
       }},
      {'S', "Mamba-2", "model.mamba2",
       [](const LayerSite& s) -> std::unique_ptr<Layer> {
         return with_factors(std::make_unique<Mamba2>(s.config, s.sublayer, s.first_part, s.prefix),
                             s.config.mamba2.in_multiplier, s.config.mamba2.out_multiplier);
       },
       "mamba", /*has_bf16=*/false},
      {'*', "attention", "model.attention",
       [](const LayerSite& s) -> std::unique_ptr<Layer> {
         return with_factors(std::make_unique<Attention>(s.config, s.sublayer, s.first_part, s.prefix),
                             s.config.attention.in_multiplier, s.config.attention.out_multiplier);
       },
       "self_attn", /*has_bf16=*/false},
      {'E', "mixture of experts", "model.moe",
       [](const LayerSite& s) -> std::unique_ptr<Layer> {
         return std::make_unique<MoeLayer>(s.config, s.sublayer, s.prefix, s.exchange);
       }},
      {'-', "dense MLP", "model.mlp",
       [](const LayerSite& s) -> std::unique_ptr<Layer> {
         const MlpConfig& mlp = s.config.mlp;
         return with_factors(
             std::make_unique<Mlp>(s.config.d_model, mlp.d_ff, mlp.activation, s.prefix, mlp.gate_multiplier),
             1, mlp.out_multiplier);
       }},
  });
  return kinds;
}

}  // namespace natrix
