#include "launch/commands/common.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "configs/schema/paths.h"
#include "core/report/say.h"
#include "core/sequence/diagnose.h"
#include "launch/commands/number_flags.h"
#include "launch/run_mesh.h"

namespace natrix {

Context CommonFlags::context() const {
  return Context(backend_kind(), threads > 0 ? static_cast<int>(threads) : threads_of_a_rank(),
                 place_on_host());
}

void CommonFlags::announce(const Context& ctx) const {
  if (quiet || std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return;
  say(fmt::format("natrix: {} backend, {} thread{}\n", name_of(ctx.backend()), ctx.threads(),
                  ctx.threads() == 1 ? "" : "s"));
}

void add_weights_flag(CLI::App& command, CommonFlags& f) {
  command
      .add_option("--weights", f.weights,
                  "Weights in memory: f32, bf16, or int8 with a scale a row; the fewer bits, the faster a "
                  "token is decoded. The router, norms and scans stay f32")
      ->capture_default_str();
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description) {
  return app.add_subcommand(name, description);
}

void add_common_flags(CLI::App& command, CommonFlags& f) {
  add_integer_flag(command, "--chunk,--chunk-size", f.chunk, 1, int64_t{1} << 40,
                   "Tokens that are in memory at once; results do not depend on it");
  command.add_option("--backend,--device", f.backend, "auto, cpu, cuda or reference (plain loops in double)")
      ->capture_default_str();
  command.add_option("--dtype", f.dtype, "fp32; fp64 with --backend reference, bf16 with --backend cuda")
      ->capture_default_str();
  add_integer_flag(command, "-t,--threads", f.threads, 0, 4096,
                   "Threads; 0: as many as this process, or its part of a host's ranks, may use");
  command.add_flag("--json", f.json, "Print one JSON object to stdout and nothing else there");
  command.add_flag("-q,--quiet", f.quiet, "No progress, no remarks");
}

CLI::Option* as_path(CLI::Option* option) {
  return option->transform(CLI::Validator(
      [](std::string& path) {
        const ExpandedPath expanded = expand_path(path);
        path = expanded.path;
        return expanded.problem;
      },
      ""));
}

void add_model_argument(CLI::App& command, std::string& model) {
  as_path(
      command.add_option("MODEL", model,
                         "A Hugging Face directory, a GGUF file, or a run directory (its latest checkpoint)"))
      ->required();
}

void print_json(const nlohmann::ordered_json& object) {
  fmt::print("{}\n", object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

int report_nonfinite(bool json, bool speaks, const std::string& value, const std::function<int()>& command) {
  try {
    return command();
  } catch (const NonfiniteError& e) {
    if (json && speaks) print_json({{value, nullptr}, {"reason", e.what()}});
    throw;
  }
}

}  // namespace natrix
