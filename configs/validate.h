// What no single key can tell: keys that must agree with each other.
#pragma once

#include <string>
#include <vector>

#include "configs/load.h"

namespace natrix {

/// A message for each contradiction, empty if there is none.
std::vector<std::string> contradictions(const LoadedConfig& loaded);

}  // namespace natrix
