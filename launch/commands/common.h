// Parts that commands share: flags of the machine, the model argument, and JSON results.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "core/tokenizers/tokenizer.h"
#include "launch/api/machine.h"
#include "launch/assemble.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace natrix {

struct CommonFlags : MachineOptions {  // --weights: only where add_weights_flag was called
  int64_t chunk = 2048;
  bool json = false;
  bool quiet = false;

  Context context() const;
  /// Prints on stderr which backend ran, unless --quiet was given. Call it after the results are printed, so
  /// that a command that fails prints only its error.
  void announce(const Context& ctx) const;
};

/// app.add_subcommand, compiled once here, because constructing a CLI::App is as much code as a command.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description);
/// --chunk --backend --dtype --threads --json --quiet.
void add_common_flags(CLI::App& command, CommonFlags& flags);
/// Adds --weights, for commands that do not train.
void add_weights_flag(CLI::App& command, CommonFlags& flags);
/// Declares that an option's values are paths. An empty one is an error, and a leading ~ that the shell did not
/// expand (--out=~/x) means the home directory, as in a configuration.
CLI::Option* as_path(CLI::Option* option);
/// The positional MODEL: a HF directory, a GGUF file or a run directory.
void add_model_argument(CLI::App& command, std::string& model);

/// Prints one JSON object on one line of stdout. Bytes of paths that are not UTF-8 are replaced.
void print_json(const nlohmann::ordered_json& object);

/// Runs a command that throws NonfiniteError if its numbers are not finite. With --json, that case too prints one
/// object on stdout, in which `value` is null and "reason" says why. speaks: false on ranks that do not print.
int report_nonfinite(bool json, bool speaks, const std::string& value, const std::function<int()>& command);

}  // namespace natrix
