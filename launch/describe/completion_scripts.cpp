#include "launch/describe/completion_scripts.h"

#include <fmt/format.h>
#include <string_view>

namespace natrix {
namespace {

std::string joined(const std::vector<std::string>& words, std::string_view between = " ") {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : std::string(between)) + word;
  return text;
}

std::string replaced(std::string_view text, std::string_view characters, std::string_view before) {
  std::string out;
  for (const char c : text) {
    if (characters.find(c) != std::string_view::npos) out += before;
    out += c;
  }
  return out;
}

/// Quotes text for a POSIX shell. A single quote inside becomes '\'': end, escaped quote, begin.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::vector<std::string> names_of(const std::vector<FlagText>& flags) {
  std::vector<std::string> names;
  for (const FlagText& flag : flags) names.insert(names.end(), flag.names.begin(), flag.names.end());
  return names;
}

std::vector<std::string> names_of(const std::vector<CommandText>& commands) {
  std::vector<std::string> names;
  for (const CommandText& command : commands) names.push_back(command.name);
  return names;
}

bool takes_path(const std::vector<FlagText>& positionals) {
  for (const FlagText& positional : positionals) {
    if (positional.takes_path()) return true;
  }
  return false;
}

/// The bash command that completes the value of a flag or an argument. Numbers have no completion.
std::string bash_values(const FlagText& flag) {
  if (flag.takes_path()) return "files=1";
  return flag.choices.empty() ? ":" : "words=" + shell_quoted(joined(flag.choices));
}

std::string bash_command(const CommandText& command) {
  std::string text = fmt::format("    {})\n      case $prev in\n", command.name);
  for (const FlagText& flag : command.flags) {
    if (flag.value.empty()) continue;
    text += fmt::format("        {}) {}; flags='' ;;\n", joined(flag.names, " | "), bash_values(flag));
  }
  text += fmt::format("        *) flags={}", shell_quoted(joined(names_of(command.flags))));
  if (takes_path(command.positionals)) {
    text += "; files=1";
  } else if (!command.positionals.empty()) {
    text += "; " + bash_values(command.positionals[0]);
  }
  return text + " ;;\n      esac\n      ;;\n";
}

/// Escapes text inside a single-quoted specification of zsh's _arguments.
std::string zsh_text(std::string_view text) {
  return replaced(text, "[]:\\", "\\");
}

std::string zsh_action(const FlagText& flag) {
  if (!flag.choices.empty()) return "(" + joined(flag.choices) + ")";
  return flag.takes_path() ? "_files" : " ";
}

/// Returns one specification per name. Once one name is given, zsh no longer offers the others, unless the flag
/// may be repeated.
std::string zsh_flag(const FlagText& flag) {
  std::string text;
  for (const std::string& name : flag.names) {
    std::string spec = flag.repeats ? "*" : "(" + joined(flag.names) + ")";
    spec += name;
    if (!flag.value.empty()) spec += name.starts_with("--") ? "=" : "+";
    spec += "[" + zsh_text(flag.help) + "]";
    if (!flag.value.empty()) spec += ":" + zsh_text(flag.value) + ":" + zsh_action(flag);
    text += " \\\n        " + shell_quoted(spec);
  }
  return text;
}

std::string zsh_command(const CommandText& command) {
  std::string text = fmt::format("    {})\n      _arguments -s -S", command.name);
  for (const FlagText& flag : command.flags) text += zsh_flag(flag);
  int place = 0;
  for (const FlagText& positional : command.positionals) {
    const std::string where = positional.repeats ? "*" : std::to_string(++place);
    const std::string spec = where + ":" + zsh_text(positional.names[0]) + ":" + zsh_action(positional);
    text += " \\\n        " + shell_quoted(spec);
  }
  return text + "\n      ;;\n";
}

/// Inside single quotes, fish has escapes for the backslash and the quote only.
std::string fish_text(std::string_view text) {
  return "'" + replaced(text, "\\'", "\\") + "'";
}

std::string fish_flag(const FlagText& flag, std::string_view condition) {
  std::string text = fmt::format("complete -c natrix -n {}", fish_text(condition));
  for (const std::string& name : flag.names) {
    text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  }
  if (!flag.value.empty()) text += flag.takes_path() ? " -r -F" : " -x";
  if (!flag.choices.empty()) text += " -a " + fish_text(joined(flag.choices));
  return text + " -d " + fish_text(flag.help) + "\n";
}

}  // namespace

std::string bash_completion(const ProgramText& program) {
  std::string commands;
  for (const CommandText& command : program.commands) commands += bash_command(command);
  return fmt::format(R"(# bash completion of natrix, made by: natrix completion bash
_natrix() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
  local command='' flags='' words='' files='' i
  # bash takes the = of --flag=value for a word.
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' && $COMP_CWORD -gt 1 ]]; then
    prev=${{COMP_WORDS[COMP_CWORD - 2]}}
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case ${{COMP_WORDS[i]}} in
      {}) command=${{COMP_WORDS[i]}}; break ;;
    esac
  done
  case $command in
    '') flags={}; words={} ;;
{}  esac
  COMPREPLY=()
  if [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
  elif [[ -n $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  elif [[ -n $files ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}}
complete -F _natrix natrix
)",
                     joined(names_of(program.commands), " | "), shell_quoted(joined(names_of(program.flags))),
                     shell_quoted(joined(names_of(program.commands))), commands);
}

std::string zsh_completion(const ProgramText& program) {
  std::string names, commands, flags;
  for (const CommandText& command : program.commands) {
    names += "        " + shell_quoted(zsh_text(command.name) + ":" + zsh_text(command.description)) + "\n";
    commands += zsh_command(command);
  }
  for (const FlagText& flag : program.flags) flags += zsh_flag(flag);
  return fmt::format(R"(#compdef natrix
# zsh completion of natrix, made by: natrix completion zsh
_natrix() {{
  local context state state_descr line
  typeset -A opt_args
  _arguments -C{} \
        '1:command:->command' '*::argument:->argument'
  case $state in
    command)
      local -a commands=(
{}      )
      _describe command commands
      return
      ;;
    argument) ;;
    *) return ;;
  esac
  case $words[1] in
{}  esac
}}
if [[ $funcstack[1] == _natrix ]]; then _natrix "$@"; else compdef _natrix natrix; fi
)",
                     flags, names, commands);
}

std::string fish_completion(const ProgramText& program) {
  const std::string none = "__fish_use_subcommand";
  std::string text = "# fish completion of natrix, made by: natrix completion fish\ncomplete -c natrix -f\n";
  for (const FlagText& flag : program.flags) text += fish_flag(flag, none);
  for (const CommandText& command : program.commands) {
    text += fmt::format("complete -c natrix -n {} -a {} -d {}\n", none, command.name,
                        fish_text(command.description));
    const std::string chosen = "__fish_seen_subcommand_from " + command.name;
    for (const FlagText& flag : command.flags) text += fish_flag(flag, chosen);
    if (takes_path(command.positionals)) {
      text += fmt::format("complete -c natrix -n '{}' -F\n", chosen);
    } else if (!command.positionals.empty() && !command.positionals[0].choices.empty()) {
      text += fmt::format("complete -c natrix -n '{}' -a {}\n", chosen,
                          fish_text(joined(command.positionals[0].choices)));
    }
  }
  return text;
}

}  // namespace natrix
