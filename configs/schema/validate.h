// What the keys of a configuration demand of each other.
#pragma once

#include <string>
#include <vector>

#include "configs/schema/load.h"

namespace natrix {

/// Defaults that another key bounds give way to it.
void fit_defaults(LoadedConfig& loaded);

struct Contradiction {
  std::string key;  // the one to change
  std::string what;
};
std::vector<Contradiction> contradictions(const LoadedConfig& loaded);
/// Only what a complete model must fulfil.
std::vector<Contradiction> contradictions(const ModelConfig& model);

}  // namespace natrix
