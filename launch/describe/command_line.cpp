#include "launch/describe/command_line.h"

#include <CLI/CLI.hpp>
#include <sstream>

namespace natrix {
namespace {

/// CLI11 appends a value's check to its type: "INT:INT in [1 - 8]", "TEXT:{bash,zsh}".
void split_type(const std::string& type, FlagText& flag) {
  const size_t colon = type.find(':');
  flag.value = type.substr(0, colon);
  if (colon == std::string::npos) return;
  const std::string check = type.substr(colon + 1);
  if (const size_t open = check.find('['); open != std::string::npos) flag.range = check.substr(open);
  if (check.size() > 2 && check.front() == '{' && check.back() == '}') {
    std::istringstream list(check.substr(1, check.size() - 2));
    for (std::string choice; std::getline(list, choice, ',');) flag.choices.push_back(choice);
  }
}

FlagText describe(const CLI::Option& option) {
  FlagText flag;
  if (option.get_positional()) {
    flag.names = {option.get_name(true)};
  } else {
    for (const std::string& name : option.get_snames()) flag.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) flag.names.push_back("--" + name);
  }
  flag.help = option.get_description();
  flag.required = option.get_required();
  if (option.get_type_size() == 0) return flag;
  split_type(option.get_type_name(), flag);
  flag.default_value = option.get_default_str();
  flag.repeats = option.get_items_expected_max() >= CLI::detail::expected_max_vector_size;
  return flag;
}

}  // namespace

ProgramText describe(const CLI::App& app) {
  ProgramText program{app.get_name(), app.version(), app.get_description(), {}, {}};
  for (const CLI::Option* option : app.get_options()) program.flags.push_back(describe(*option));
  for (const CLI::App* command : app.get_subcommands(std::function<bool(const CLI::App*)>{})) {
    if (command->get_group().empty()) continue;
    CommandText text{command->get_name(), command->get_description(), command->get_footer(), {}, {}};
    for (const CLI::Option* option : command->get_options()) {
      if (option->get_group().empty()) continue;
      (option->get_positional() ? text.positionals : text.flags).push_back(describe(*option));
    }
    program.commands.push_back(std::move(text));
  }
  return program;
}

}  // namespace natrix
