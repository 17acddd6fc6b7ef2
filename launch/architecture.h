// Compares two models as networks, independent of how their settings are written. Which keys there are, and
// what each means beside a checkpoint, is said in the list of fields (configs/schema/fields.cpp).
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

/// The model of a checkpoint with the settings of training that were set; where the checkpoint's family holds
/// none, with all that the configuration has.
ModelConfig with_training_settings(const ModelConfig& found, const LoadedConfig& loaded);

/// The model of a checkpoint with the settings of training of another.
ModelConfig with_training_settings(const ModelConfig& found, const ModelConfig& of);

}  // namespace natrix
