// The largest values of a model's settings, in the YAML and in any config.json. They lie far above any real
// model, and low enough that no product of two extents overflows.
#pragma once

#include <cstdint>

namespace natrix {

constexpr int64_t kMostLayers = 100'000;  // sublayers of a stack
constexpr int64_t kMostWidth = int64_t{1} << 24;
constexpr int64_t kMostVocabulary = int64_t{1} << 31;
constexpr int64_t kMostExperts = 65'536;
constexpr int64_t kMostStates = 65'536;
constexpr int64_t kMostTaps = 1'024;
constexpr int64_t kMostExpand = 1'024;
constexpr double kMostMultiplier = 1e6;
constexpr double kLeastEps = 1e-15, kMostEps = 1.0;

}  // namespace natrix
