// Normalizer: what is done to text before it is divided into pieces.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace natrix {

/// Returns the normalised text.
using Normalizer = std::function<std::string(std::string_view)>;

/// Replaces every occurrence of `from`, which is not empty, from left to right.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);
/// Without white space at the chosen ends.
std::string stripped(std::string_view text, bool left, bool right);

}  // namespace natrix
