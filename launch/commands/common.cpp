#include "launch/commands/common.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "configs/schema/paths.h"
#include "core/files/safetensors.h"
#include "core/sequence/diagnose.h"
#include "core/text/own_tokenizer.h"
#include "kernels/base/build.h"
#include "kernels/loss.h"
#include "launch/commands/number_flags.h"
#include "launch/run_mesh.h"

namespace natrix {

Backend parse_backend(const std::string& name) {
  if (name == "auto" || name == "cpu") return Backend::kCpu;
  if (name == "reference") return Backend::kReference;
  if (name == "cuda") {
    if constexpr (build::kCuda) return Backend::kCuda;
    throw InputError("--backend cuda: this build of natrix has no CUDA backend; use --backend cpu");
  }
  throw InputError(fmt::format("--backend {}: choose one of auto, cpu, cuda, reference", name));
}

Backend CommonFlags::backend_kind() const {
  return parse_backend(backend);
}

Dtype CommonFlags::element() const {
  if (dtype == "fp32") return Dtype::kF32;
  if (dtype == "fp64" && backend_kind() == Backend::kReference) return Dtype::kF64;
  if (dtype == "bf16" && backend_kind() == Backend::kCuda) return Dtype::kBF16;
  const char* others = backend_kind() == Backend::kReference ? " or fp64"
                       : dtype == "fp64"                     ? "; fp64 needs --backend reference"
                       : dtype == "bf16"                     ? "; bf16 needs --backend cuda"
                       : backend_kind() == Backend::kCuda    ? " or bf16"
                                                             : "";
  throw InputError(
      fmt::format("--dtype {}: the {} backend computes in fp32{}", dtype, name_of(backend_kind()), others));
}

Context CommonFlags::context() const {
  return Context(backend_kind(), threads > 0 ? static_cast<int>(threads) : threads_of_a_rank(),
                 place_on_host());
}

WeightFormat CommonFlags::weight_format() const {
  if (weights == "f32" || weights == "fp32") return WeightFormat::kF32;
  if (weights == "bf16") return WeightFormat::kBF16;
  if (weights == "int8" || weights == "q8_0") return WeightFormat::kInt8;
  throw InputError(fmt::format("--weights {}: choose one of f32, bf16, int8", weights));
}

void add_weights_flag(CLI::App& command, CommonFlags& f) {
  command
      .add_option("--weights", f.weights,
                  "Weights in memory: f32, bf16, or int8 with a scale a row; the fewer bits, the faster a "
                  "token is decoded. The router, norms and scans stay f32")
      ->capture_default_str();
}

void pack_for_reading(Model& model, Context& ctx, const CommonFlags& flags) {
  const WeightFormat format = flags.weight_format();
  if (format == WeightFormat::kF32) {
    if (ctx.backend() == Backend::kCpu) model.pack(ctx, format);
    if (ctx.backend() == Backend::kCuda) model.keep_rounded();
    return;
  }
  if (model.dtype() != Dtype::kF32 || ctx.backend() == Backend::kCuda) {
    throw InputError(fmt::format("--weights {}: {} reads its weights as they are; leave --weights out",
                                 flags.weights,
                                 ctx.backend() == Backend::kCuda ? "backend cuda" : "--dtype fp64"));
  }
  try {
    model.pack(ctx, format);
  } catch (const InputError&) {  // what int8 cannot hold
    const std::string weight = nonfinite_weight(model);
    if (weight.empty()) throw;
    throw NonfiniteError(fmt::format("--weights {}: the weight {} is not finite", flags.weights, weight));
  }
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
  as_path(command.add_option("MODEL", model,
                             "A Hugging Face directory, or a run directory (its latest checkpoint)"))
      ->required();
}

std::unique_ptr<Tokenizer> text_tokenizer(const std::string& spec, const std::string& dir,
                                          int64_t vocab_size) {
  if (!spec.empty()) return make_tokenizer(spec, vocab_size);
  return make_own_tokenizer(tokenizer_of(dir), vocab_size,
                            "give tokens instead of text (score and generate have --tokens), or --tokenizer "
                            "bytes if the model was trained on bytes");
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

Buffer read_tokens(const std::string& path, int64_t vocab_size) {
  const Safetensors file(path);
  View stored = file.at("tokens");
  if (stored.dtype != Dtype::kI64 || stored.shape.rank() != 2 || stored.count() == 0) {
    throw InputError(
        fmt::format("{}: tensor \"tokens\" is {}; expected i64 [batch, length] with at least one token", path,
                    stored.to_string()));
  }
  Buffer tokens(Dtype::kI64, stored.shape);
  copy(stored, tokens.view());
  const int64_t* t = tokens.view().as<int64_t>();
  for (int64_t i = 0; i < stored.count(); ++i) {
    if (t[i] < 0 || t[i] >= vocab_size) {
      throw InputError(fmt::format("{}: tokens[{}, {}] is {}; the model's vocabulary has {} entries", path,
                                   i / stored.cols(), i % stored.cols(), t[i], vocab_size));
    }
  }
  return tokens;
}

Buffer next_token_targets(View tokens) {
  Buffer targets(Dtype::kI64, tokens.shape);
  for (int64_t b = 0; b < tokens.rows(); ++b) {
    const int64_t* from = tokens.row<int64_t>(b);
    int64_t* to = targets.view().row<int64_t>(b);
    std::copy(from + 1, from + tokens.cols(), to);
    to[tokens.cols() - 1] = kIgnoreTarget;
  }
  return targets;
}

}  // namespace natrix
