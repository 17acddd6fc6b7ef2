// Compares two models as networks, independent of how their settings are written. The list of fields
// (configs/schema/fields.cpp) defines the keys and how each relates to a checkpoint.
#pragma once

#include <string>
#include <vector>

#include "configs/schema/load.h"
#include "launch/layer_kinds.h"

namespace natrix {

/// The keys of the model block that differ, in the order of the documentation. Stacks are compared as a
/// whole: pattern MM equals M twice. dt_rank is compared as a number. Settings of a kind of layer count only
/// if the stack has such layers. init_from, the source of the first weights, does not count.
std::vector<std::string> differing_model_keys(const ModelConfig& a, const ModelConfig& b,
                                              const LayerKinds& kinds);

/// The keys of the model block that were set and contradict the model of a checkpoint.
std::vector<std::string> set_against_checkpoint(const LoadedConfig& loaded, const ModelConfig& found);

/// The model of a checkpoint with the training settings that were set. If the checkpoint's family stores no
/// training settings, all of them come from the configuration.
ModelConfig with_training_settings(const ModelConfig& found, const LoadedConfig& loaded);

/// The model of a checkpoint with the training settings of another model.
ModelConfig with_training_settings(const ModelConfig& found, const ModelConfig& of);

}  // namespace natrix
