// State files: what a model carries after reading a text (a prefix), as a safetensors file. Its size does not
// depend on the length of the text, except for layers that append rows (attention). Metadata: natrix_state
// (version), model (hash_weights), tokens (position), checksum, about, note (optional).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/files/safetensors.h"

namespace natrix {

struct StateInfo {
  std::string model;      // hash_weights() of its model
  int64_t tokens = 0;     // number of tokens that the model has read
  std::string about;      // one line for people that describes the model
  std::string note = {};  // the writer's own; "" if there is none
};

void write_state_file(const std::string& path, const StateInfo& info,
                      const std::vector<NamedTensor>& tensors);

/// Reads a file's metadata. InputError if it is not a complete state file.
StateInfo read_state_info(const std::string& path);

/// Opens a file that belongs to `model`. InputError if it is damaged or belongs to another model. The caller
/// checks the tensors (core/carry/carry_spec.h: read_states).
class StateFile {
 public:
  StateFile(const std::string& path, const std::string& model);
  const StateInfo& info() const { return info_; }
  const Safetensors& tensors() const { return tensors_; }

 private:
  Safetensors tensors_;
  StateInfo info_;
};

}  // namespace natrix
