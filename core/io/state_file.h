// Prefix states: what a model carries after reading a text, as a safetensors file whose size does not depend
// on how long that text was. Metadata: natrix_state (version),
// model (hash_weights), tokens (position), checksum, about.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/files/safetensors.h"

namespace natrix {

struct StateInfo {
  std::string model;   // hash_weights() of the model that it belongs to
  int64_t tokens = 0;  // how many the model has read
  std::string about;   // one line for people: what model that is
};

void write_state_file(const std::string& path, const StateInfo& info,
                      const std::vector<NamedTensor>& tensors);

/// What a file says of itself. InputError if it is not a whole state file.
StateInfo read_state_info(const std::string& path);

/// Fills `into`, whose names, dtypes and shapes are those that `model` needs. InputError for a state of
/// another model, for missing, unexpected or unlike tensors, and for damaged files; `into` is then untouched.
StateInfo read_state_file(const std::string& path, const std::string& model,
                          const std::vector<NamedTensor>& into);

}  // namespace natrix
