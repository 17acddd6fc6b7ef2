// What several commands share: flags of the machine, the model argument, and JSON results.
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
  /// Says on stderr which backend ran, unless --quiet was given. Call it after the results are printed: a
  /// command that fails says one thing only.
  void announce(const Context& ctx) const;
};

/// app.add_subcommand, which is compiled here once: what constructs a CLI::App is as much code as a command.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description);
/// --chunk --backend --dtype --threads --json --quiet.
void add_common_flags(CLI::App& command, CommonFlags& flags);
/// --weights, of a command that only reads a model.
void add_weights_flag(CLI::App& command, CommonFlags& flags);
/// The option's values are paths: none may be empty, and a leading ~ that no shell has expanded (--out=~/x)
/// means what it means in a configuration.
CLI::Option* as_path(CLI::Option* option);
/// The positional MODEL: a HF directory, a GGUF file or a run directory.
void add_model_argument(CLI::App& command, std::string& model);

/// One JSON object on one line of stdout. Paths need not be UTF-8: what is not is replaced.
void print_json(const nlohmann::ordered_json& object);

/// Runs a command that ends with NonfiniteError where its numbers are not finite. With --json that is one
/// object on stdout, too, in which `value` is null and "reason" says why. speaks: false on ranks that do not
/// print.
int report_nonfinite(bool json, bool speaks, const std::string& value, const std::function<int()>& command);

}  // namespace natrix
