// Completion scripts of shells, from what the parser defines: commands, flags, choices, and paths where a value may be
// one.
#pragma once

#include <string>

#include "launch/describe/command_line.h"

namespace natrix {

/// Needs nothing but bash 4.4; the package bash-completion loads it where it finds it.
std::string bash_completion(const ProgramText& program);
std::string zsh_completion(const ProgramText& program);
std::string fish_completion(const ProgramText& program);

}  // namespace natrix
