// What the program tells a person goes to stderr, and must never be what ends it.
#pragma once

#include <string_view>

namespace natrix {

/// Writes to stderr. Where that is closed, full, or a pipe that nobody reads any more, the text is lost.
void say(std::string_view text) noexcept;

}  // namespace natrix
