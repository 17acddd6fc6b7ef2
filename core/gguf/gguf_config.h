// The metadata of a GGUF file as a config.json.
#pragma once

#include <string>

#include "configs/schema/model.h"
#include "core/gguf/architecture.h"

namespace natrix {

struct GgufConfig {
  const GgufArchitecture* architecture = nullptr;
  ModelConfig model;
  std::string text;  // of config.json
};

/// InputError names the key at fault.
GgufConfig read_gguf_config(const GgufFile& file);

}  // namespace natrix
