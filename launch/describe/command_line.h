// The definitions of the program's parser as plain data. Manual pages and shell completions are made from it.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace natrix {

struct FlagText {
  std::vector<std::string> names;    // as typed, "-o" before "--out"; a positional has one name
  std::string help;                  // one line
  std::string value;                 // TEXT, INT, …; empty for a flag without a value
  std::string range;                 // "[1 - 4096]" or empty
  std::vector<std::string> choices;  // empty: any value
  std::string default_value;         // empty: none, or not worth showing
  bool required = false, repeats = false;

  /// Whether a value may be a path. A number or a choice cannot.
  bool takes_path() const { return value == "TEXT" && choices.empty(); }
};

struct CommandText {
  std::string name, description, footer;
  std::vector<FlagText> positionals, flags;
};

struct ProgramText {
  std::string name, version, description;
  std::vector<FlagText> flags;
  std::vector<CommandText> commands;  // hidden ones left out
};

ProgramText describe(const CLI::App& app);

}  // namespace natrix
