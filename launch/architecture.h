// Compares two models as networks, independent of how their settings are written.
#pragma once

#include <string>
#include <vector>

#include "launch/layer_kinds.h"

namespace natrix {

/// The keys of the model block that differ, in the order of the documentation. Stacks are compared as a
/// whole: pattern MM equals M twice. dt_rank is compared as a number. Settings of a kind of layer count only
/// if the stack has such layers. init_from, the source of the first weights, does not count.
std::vector<std::string> differing_model_keys(const ModelConfig& a, const ModelConfig& b,
                                              const LayerKinds& kinds);

}  // namespace natrix
