#include "launch/architecture.h"

#include "configs/schema/field.h"

namespace natrix {
namespace {

ExperimentConfig spelt_alike(ModelConfig model) {
  model.init_from.clear();
  model.mamba.dt_rank = model.dt_rank();
  ExperimentConfig config;
  config.model = std::move(model);
  return config;
}

}  // namespace

std::vector<std::string> differing_model_keys(const ModelConfig& a, const ModelConfig& b,
                                              const LayerKinds& kinds) {
  ExperimentConfig one = spelt_alike(a), other = spelt_alike(b);
  const std::vector<Field> before = fields_of(one), now = fields_of(other);
  const bool same_stack = a.stack() == b.stack();
  std::vector<std::string> keys;
  for (size_t i = 0; i < now.size(); ++i) {
    const std::string& key = now[i].key;
    if (before[i].print() == now[i].print() || !key.starts_with("model.") ||
        !kinds.uses(a.stack() + b.stack(), key))
      continue;
    if (same_stack && (key == "model.pattern" || key == "model.repeat")) continue;
    keys.push_back(key);
  }
  return keys;
}

}  // namespace natrix
