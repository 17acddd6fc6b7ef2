// State files: the states that a model carries after reading a text (a prefix), as a safetensors file. Its
// size does not depend on the length of the text. Metadata: natrix_state (version), model (hash_weights),
// tokens (position), checksum, about.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/files/safetensors.h"

namespace natrix {

struct StateInfo {
  std::string model;   // hash_weights() of its model
  int64_t tokens = 0;  // number of tokens that the model has read
  std::string about;   // one line for people that describes the model
};

void write_state_file(const std::string& path, const StateInfo& info,
                      const std::vector<NamedTensor>& tensors);

/// Reads a file's metadata. InputError if it is not a complete state file.
StateInfo read_state_info(const std::string& path);

/// Fills `into`, whose names, dtypes and shapes are those that `model` needs. InputError if the
/// file is damaged, belongs to another model, or has missing, unexpected or different tensors.
/// `into` is then unchanged.
StateInfo read_state_file(const std::string& path, const std::string& model,
                          const std::vector<NamedTensor>& into);

}  // namespace natrix
