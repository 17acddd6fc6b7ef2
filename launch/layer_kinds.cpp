#include "launch/layer_kinds.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/files/json.h"
#include "core/layers/mamba1.h"
#include "core/layers/mlp.h"
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

void LayerKinds::check(const std::string& pattern, const std::string& where) const {
  for (const char letter : pattern) {
    if (find(letter) != nullptr) continue;
    std::string known;
    for (const LayerKind& kind : rows_) {
      known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", kind.letter, kind.name);
    }
    std::string shown = excerpt({&letter, 1});  // a file's letter may be any byte
    shown.front() = shown.back() = '\'';
    throw InputError(
        fmt::format("{}: {} is not a layer that natrix has; the letters are {}", where, shown, known));
  }
}

bool LayerKinds::uses(const std::string& stack, const std::string& key) const {
  return std::ranges::none_of(rows_, [&](const LayerKind& kind) {
    const std::string section = kind.section;
    return !section.empty() && key.starts_with(section + ".") && stack.find(kind.letter) == std::string::npos;
  });
}

std::unique_ptr<Layer> LayerKinds::make(char letter, const LayerSite& site) const {
  if (find(letter) == nullptr) check({letter});
  return find(letter)->make(site);
}

const LayerKinds& builtin_layer_kinds() {
  static const LayerKinds kinds({
      {'M', "Mamba-1", "model.mamba",
       [](const LayerSite& s) -> std::unique_ptr<Layer> {
         return std::make_unique<Mamba1>(s.config, s.sublayer, s.prefix);
       }},
      {'E', "mixture of experts", "model.moe",
       [](const LayerSite& s) -> std::unique_ptr<Layer> {
         return std::make_unique<MoeLayer>(s.config, s.sublayer, s.prefix, s.exchange);
       }},
      {'-', "dense MLP", "model.mlp",
       [](const LayerSite& s) -> std::unique_ptr<Layer> {
         const MlpConfig& mlp = s.config.mlp;
         return std::make_unique<Mlp>(s.config.d_model, mlp.d_ff, mlp.activation, s.prefix);
       }},
  });
  return kinds;
}

}  // namespace natrix
