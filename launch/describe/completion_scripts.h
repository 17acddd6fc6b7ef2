// Makes completion scripts for shells from the parser's definitions: commands, flags, choices and paths.
#pragma once

#include <string>

#include "launch/describe/command_line.h"

namespace natrix {

/// Needs only bash 4.4. The package bash-completion loads it if it is installed in the usual place.
std::string bash_completion(const ProgramText& program);
std::string zsh_completion(const ProgramText& program);
std::string fish_completion(const ProgramText& program);

}  // namespace natrix
