// Makes manual pages in roff (man(7)) from the parser's definitions.
#pragma once

#include <string>

#include "launch/describe/command_line.h"

namespace natrix {

/// natrix(1): its commands and exit statuses.
std::string man_page(const ProgramText& program);
/// natrix-COMMAND(1).
std::string man_page(const ProgramText& program, const CommandText& command);

}  // namespace natrix
