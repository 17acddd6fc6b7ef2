// ModelSource: a model as its family of Hugging Face writes it, in a directory or in another format.
#pragma once

#include <memory>
#include <string>

#include "core/files/tensor_source.h"

namespace natrix {

struct ModelSource {
  std::string path;                             // of the directory or file, for messages
  std::string config;                           // the text of config.json
  std::string config_origin;                    // what messages call it
  std::unique_ptr<const TensorSource> tensors;  // under the family's names; null if there are no weights
};

/// A Hugging Face directory. InputError if config.json is missing, or the files of weights are damaged.
ModelSource open_hf_directory(const std::string& dir);

}  // namespace natrix
