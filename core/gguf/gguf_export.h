// Writing a model as a GGUF file.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "core/gguf/gguf_types.h"
#include "core/hf/model_source.h"

namespace natrix {

struct GgufExport {
  /// Of the matrices; nothing: F32, BF16 or F16, as most of the model's tensors are. Vectors, convolutions and
  /// the router are F32 in every file, as llama.cpp wants them. A matrix whose rows are not a whole number of
  /// blocks is Q8_0 or F16 instead, and so in a Q4_K file the embedding and the head are Q8_0.
  std::optional<GgufType> type;
  std::string name;  // general.name
  /// The tokenizer's files by name, such as "tokenizer.json".
  std::map<std::string, std::string> tokenizer = {};
};

/// Writes `model`. The file appears complete or not at all. `warn` hears of what llama.cpp cannot do with it, and
/// of a tokenizer that is left out. Needs memory for the largest tensor of the model in f32, and twice that for one
/// whose values change (gguf_model.h, source_values.h). InputError if GGUF has no architecture for the model.
void write_gguf(const std::string& path, const ModelSource& model, const GgufExport& how,
                const std::function<void(const std::string&)>& warn);

}  // namespace natrix
