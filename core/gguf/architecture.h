// GgufArchitecture: all that Natrix knows of one architecture of GGUF files.
//
// An architecture is one file of core/gguf that fills this record, and one row of the table in
// architectures.cpp. What reads and writes files (gguf_model.h, gguf_export.h) asks the record and knows no
// architecture by name. The model itself is read and written by its family of Hugging Face (core/hf/family.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "configs/schema/model.h"
#include "core/gguf/gguf_keys.h"
#include "core/gguf/tensor_rule.h"

namespace natrix {

/// A tensor that has no counterpart in Hugging Face, and is computed from the configuration.
struct ExtraTensor {
  std::string name;
  std::vector<float> values;
};

struct GgufArchitecture {
  std::string_view name;  // general.architecture
  /// Whether a model is written as this.
  bool (*expresses)(const ModelConfig& config);
  /// Reads or writes all keys. When reading, `config` has the defaults of ModelConfig, and d_model and
  /// vocab_size, which come from the embedding.
  void (*visit)(const GgufKeys& keys, ModelConfig& config);
  /// The tensors of a layer. Those of the model as a whole are in all architectures the same, but for `once`.
  std::vector<TensorRule> (*rules)(const ModelConfig& config);
  /// Why llama.cpp would not load the file, or would compute something else; empty if it does. One sentence.
  std::string (*beyond_llama_cpp)(const ModelConfig& config);
  std::vector<ExtraTensor> (*extra)(const ModelConfig& config) = nullptr;
};

GgufArchitecture mamba_gguf();
GgufArchitecture mamba2_gguf();
GgufArchitecture jamba_gguf();
GgufArchitecture nemotron_h_gguf();
GgufArchitecture nemotron_h_moe_gguf();
GgufArchitecture granite_hybrid_gguf();
GgufArchitecture falcon_h1_gguf();
GgufArchitecture llama_gguf();

const std::vector<GgufArchitecture>& gguf_architectures();
/// Null if there is none of this name.
const GgufArchitecture* find_gguf_architecture(std::string_view name);
/// InputError if no architecture expresses the model.
const GgufArchitecture& gguf_architecture_of(const ModelConfig& config);
/// "mamba, mamba2, … and llama", for messages.
std::string readable_gguf_architectures();

}  // namespace natrix
