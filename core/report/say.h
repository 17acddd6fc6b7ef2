// Messages for people go to stderr. A failure to write one must never end the program.
#pragma once

#include <string_view>

namespace natrix {

/// Writes to stderr. If stderr is closed, full, or a pipe without a reader, the text is lost.
void say(std::string_view text) noexcept;

}  // namespace natrix
