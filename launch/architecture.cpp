#include "launch/architecture.h"

#include "configs/schema/field.h"
#include "core/hf/families.h"

namespace natrix {
namespace {

ModelConfig spelt_alike(ModelConfig model) {
  model.init_from.clear();
  model.mamba.dt_rank = model.dt_rank();
  model.mamba2.num_heads = model.mamba2_heads();
  model.attention.num_kv_heads = model.kv_heads();
  model.attention.head_dim = model.attention_head_dim();
  model.moe.shared_d_ff = model.moe.shared_d_ff.value_or(model.moe.d_ff);
  return model;
}

bool is_of_stack(const std::string& key) {
  return key == "model.pattern" || key == "model.repeat";
}

bool contradict(const Field& asked, const Field& found, const ModelConfig& checkpoint) {
  switch (asked.beside_checkpoint) {
    case BesideCheckpoint::kRepeats: return asked.get() != found.get();
    case BesideCheckpoint::kReplaces: return false;
    case BesideCheckpoint::kStaysOnOff:
      // Weights have a selection bias or not. An existing one may be updated or kept fixed.
      return !checkpoint.moe.selection_bias && (asked.get() == Scalar(0.0)) != (found.get() == Scalar(0.0));
  }
  contract_broken("unknown meaning", std::source_location::current());
}

}  // namespace

std::vector<std::string> differing_model_keys(const ModelConfig& a, const ModelConfig& b,
                                              const LayerKinds& kinds) {
  ModelConfig one = spelt_alike(a), other = spelt_alike(b);
  const std::vector<Field> before = model_fields_of(one), now = model_fields_of(other);
  const bool same_stack = a.stack() == b.stack();
  std::vector<std::string> keys;
  for (size_t i = 0; i < now.size(); ++i) {
    const std::string& key = now[i].key;
    if (before[i].get() == now[i].get() || !kinds.uses(a.stack() + b.stack(), key)) continue;
    if (same_stack && is_of_stack(key)) continue;
    keys.push_back(key);
  }
  return keys;
}

namespace {

/// Takes every key that the experiment does not set from the checkpoint.
void take_unset(ModelConfig& asked, const ModelConfig& found, const LoadedConfig& loaded) {
  ModelConfig copy = found;
  const std::vector<Field> to = model_fields_of(asked), from = model_fields_of(copy);
  for (size_t i = 0; i < to.size(); ++i) {
    if (!loaded.was_set(to[i].key) && !to[i].is_path) to[i].set(from[i].get());
  }
}

}  // namespace

std::vector<std::string> set_against_checkpoint(const LoadedConfig& loaded, const ModelConfig& found) {
  ModelConfig asked = loaded.config.model;
  const bool same_stack = asked.stack() == found.stack();
  take_unset(asked, found, loaded);  // a key that is "auto" depends on others
  if (!asked.vocab_size) asked.vocab_size = found.vocab_size;
  asked = spelt_alike(asked);
  ModelConfig of_checkpoint = spelt_alike(found);
  const std::vector<Field> ours = model_fields_of(asked), its = model_fields_of(of_checkpoint);
  std::vector<std::string> keys;
  for (size_t i = 0; i < ours.size(); ++i) {
    const std::string& key = ours[i].key;
    const bool contradicts = is_of_stack(key) ? !same_stack : contradict(ours[i], its[i], found);
    if (contradicts && loaded.was_set(key)) keys.push_back(key);
  }
  return keys;
}

ModelConfig with_training_settings(const ModelConfig& found, const LoadedConfig& loaded) {
  ModelConfig model = found, asked = loaded.config.model;
  const bool holds_them = hf_family(found).holds_training_settings;
  const std::vector<Field> to = model_fields_of(model), from = model_fields_of(asked);
  for (size_t i = 0; i < to.size(); ++i) {
    const BesideCheckpoint beside = to[i].beside_checkpoint;
    if (beside == BesideCheckpoint::kRepeats) continue;
    const bool unknown_to_it = beside == BesideCheckpoint::kReplaces && !holds_them;
    if (loaded.was_set(to[i].key) || unknown_to_it) to[i].set(from[i].get());
  }
  return model;
}

ModelConfig with_training_settings(const ModelConfig& found, const ModelConfig& of) {
  ModelConfig model = found, other = of;
  const std::vector<Field> to = model_fields_of(model), from = model_fields_of(other);
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i].beside_checkpoint != BesideCheckpoint::kRepeats) to[i].set(from[i].get());
  }
  return model;
}

}  // namespace natrix
