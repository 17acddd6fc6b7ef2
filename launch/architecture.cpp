#include "launch/architecture.h"

#include "configs/field.h"

namespace natrix {
namespace {

ExperimentConfig spelt_alike(ModelConfig model) {
  model.init_from.clear();
  model.mamba.dt_rank = model.dt_rank();
  ExperimentConfig config;
  config.model = std::move(model);
  return config;
}

bool concerns(const std::string& key, const std::string& stack) {
  const auto has = [&](char layer) { return stack.find(layer) != std::string::npos; };
  if (key.starts_with("model.mamba.")) return has('M');
  if (key.starts_with("model.moe.")) return has('E');
  if (key.starts_with("model.mlp.")) return has('-');
  return key.starts_with("model.");
}

}  // namespace

std::vector<std::string> differing_model_keys(const ModelConfig& a, const ModelConfig& b) {
  ExperimentConfig one = spelt_alike(a), other = spelt_alike(b);
  const std::vector<Field> before = fields_of(one), now = fields_of(other);
  const bool same_stack = a.stack() == b.stack();
  std::vector<std::string> keys;
  for (size_t i = 0; i < now.size(); ++i) {
    const std::string& key = now[i].key;
    if (before[i].print() == now[i].print() || !concerns(key, a.stack() + b.stack())) continue;
    if (same_stack && (key == "model.pattern" || key == "model.repeat")) continue;
    keys.push_back(key);
  }
  return keys;
}

}  // namespace natrix
