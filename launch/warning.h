// Warnings of commands that keep no log.
#pragma once

#include <string>

namespace natrix {

/// "natrix: warning: …", a line on stderr. --quiet does not silence it.
void print_warning(const std::string& what);

}  // namespace natrix
