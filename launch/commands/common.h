// What several commands share: flags of the machine, the model argument, and JSON results.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "core/text/tokenizer.h"
#include "launch/assemble.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace natrix {

struct CommonFlags {
  int64_t chunk = 2048;
  std::string backend = "auto";
  std::string dtype = "fp32";
  int64_t threads = 0;  // 0: as many as this process may use; a rank, its part of the host's
  bool json = false;
  bool quiet = false;
  std::string weights = "f32";  // only where add_weights_flag was called

  Backend backend_kind() const;
  Dtype element() const;  // fp64 runs on the reference backend only
  WeightFormat weight_format() const;
  Context context() const;
};

/// app.add_subcommand, which is compiled here once: what constructs a CLI::App is as much code as a command.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description);
/// --chunk --backend --dtype --threads --json --quiet.
void add_common_flags(CLI::App& command, CommonFlags& flags);
/// --weights, of a command that only reads a model.
void add_weights_flag(CLI::App& command, CommonFlags& flags);
/// Brings a model that is only read from now on into the format of --weights, and into the layout that this
/// backend reads fastest. What needs the weights themselves (their hash) comes before.
void pack_for_reading(Model& model, Context& ctx, const CommonFlags& flags);
/// The option's values are paths: none may be empty, and a leading ~ that no shell has expanded (--out=~/x)
/// means what it means in a configuration.
CLI::Option* as_path(CLI::Option* option);
/// The positional MODEL: a HF directory or a run directory.
void add_model_argument(CLI::App& command, std::string& model);

Backend parse_backend(const std::string& name);

/// The tokenizer of a model's text. An empty `spec` is the model's own (core/text/own_tokenizer.h):
/// InputError where natrix cannot read that yet.
std::unique_ptr<Tokenizer> text_tokenizer(const std::string& spec, const std::string& dir,
                                          int64_t vocab_size);

/// One JSON object on one line of stdout. Paths need not be UTF-8: what is not is replaced.
void print_json(const nlohmann::ordered_json& object);

/// Runs a command that ends with NonfiniteError where its numbers are not finite. With --json that is one
/// object on stdout, too, in which `value` is null and "reason" says why. speaks: false on ranks that do not
/// print.
int report_nonfinite(bool json, bool speaks, const std::string& value, const std::function<int()>& command);

/// Tokens [B, T] from a safetensors file, each in [0, vocab_size).
Buffer read_tokens(const std::string& path, int64_t vocab_size);

/// targets[b, t] = tokens[b, t + 1]; the last of each row is kIgnoreTarget.
Buffer next_token_targets(View tokens);

}  // namespace natrix
