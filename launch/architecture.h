// Whether two models are the same network, however their settings spell it.
#pragma once

#include <string>
#include <vector>

#include "launch/layer_kinds.h"

namespace natrix {

/// Keys of the model block in which they differ, in the order of the documentation. A stack is compared as a
/// whole (pattern MM, or M twice), dt_rank as a number, and settings of layers only where the stack has such
/// layers; where the first weights come from (init_from) is no difference.
std::vector<std::string> differing_model_keys(const ModelConfig& a, const ModelConfig& b,
                                              const LayerKinds& kinds);

}  // namespace natrix
