// natrix completion: prints a shell's completion script. natrix describe (hidden from --help): writes the scripts of
// all shells and the manual pages, as they are installed.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>

#include "core/files/atomic_file.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/describe/command_line.h"
#include "launch/describe/completion_scripts.h"
#include "launch/describe/man_pages.h"

namespace natrix {
namespace {

int print_completion(const ProgramText& program, const std::string& shell) {
  const std::string script = shell == "bash"  ? bash_completion(program)
                             : shell == "zsh" ? zsh_completion(program)
                                              : fish_completion(program);
  std::fputs(script.c_str(), stdout);
  return 0;
}

/// share: the directory share/ of an installation prefix.
int write_share(const ProgramText& program, const std::filesystem::path& share) {
  const auto write = [&](const std::string& path, const std::string& text) {
    const std::filesystem::path file = share / path;
    std::filesystem::create_directories(file.parent_path());
    write_file(file.string(), text);
  };
  write("bash-completion/completions/natrix", bash_completion(program));
  write("zsh/site-functions/_natrix", zsh_completion(program));
  write("fish/vendor_completions.d/natrix.fish", fish_completion(program));
  write("man/man1/natrix.1", man_page(program));
  for (const CommandText& command : program.commands) {
    write("man/man1/natrix-" + command.name + ".1", man_page(program, command));
  }
  return 0;
}

}  // namespace

void add_completion(CLI::App& app, Action& chosen) {
  CLI::App* c =
      add_command(app, "completion", "Print a script that completes commands, flags and paths in a shell");
  auto shell = std::make_shared<std::string>();
  c->add_option("SHELL", *shell, "The shell that the script is for")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  c->footer(
      "Examples:\n"
      "  source <(natrix completion bash)\n"
      "  natrix completion fish > ~/.config/fish/completions/natrix.fish");
  c->callback(
      [shell, &app, &chosen] { chosen = [shell, &app] { return print_completion(describe(app), *shell); }; });

  CLI::App* d =
      add_command(app, "describe", "Write manual pages and completion scripts, laid out as below share/");
  auto share = std::make_shared<std::string>();
  d->add_option("-o,--out", *share, "Directory to write to")->required();
  d->group("");
  d->callback(
      [share, &app, &chosen] { chosen = [share, &app] { return write_share(describe(app), *share); }; });
}

}  // namespace natrix
