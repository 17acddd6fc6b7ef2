// Warnings of commands without a log.
#pragma once

#include <string>

namespace natrix {

/// Prints the line "natrix: warning: …" to stderr, even with --quiet.
void print_warning(const std::string& what);

}  // namespace natrix
