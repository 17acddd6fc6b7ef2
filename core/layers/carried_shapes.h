// What a model carries along a sequence: the name and shape of each carried state,
// a function of its configuration.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "configs/model.h"
#include "core/io/safetensors.h"
#include "core/sequence/carry_states.h"

namespace natrix {

/// In the order of the stack, for `batch` rows:
/// conv tail [B, K − 1, I] and SSM state [B, I, N] of each Mamba layer.
std::vector<std::pair<CarryKey, Shape>> carried_shapes(const ModelConfig& config, int64_t batch);

/// Bytes of all of them together.
int64_t carried_bytes(const ModelConfig& config, int64_t batch, Dtype dtype);

/// "layers.3.ssm_state", "layers.3.conv_tail".
std::string name_of(CarryKey key);

/// States with every carried tensor present (zero).
CarryStates zero_states(const ModelConfig& config, int64_t batch, Dtype dtype);

/// The tensors of `states` under prefix + name_of(key), for files.
std::vector<NamedTensor> named_states(const CarryStates& states, const std::string& prefix = {});

}  // namespace natrix
