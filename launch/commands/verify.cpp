// natrix verify: compares the loss and the gradients of one optimizer step for several chunk lengths and
// layouts of ranks, and prints a table.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "configs/schema/field_types.h"
#include "core/report/memory.h"
#include "core/report/units.h"
#include "core/train/train_step.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/commands/number_flags.h"
#include "launch/config_source.h"
#include "launch/experiment.h"
#include "launch/layouts.h"
#include "launch/training_memory.h"
#include "launch/warning.h"

namespace natrix {
namespace {

struct VerifyFlags {
  std::string config;
  std::vector<std::string> overrides, keys, chunks, layouts;  // keys: as in train
  double tolerance = 1e-5;
  bool json = false, quiet = false;

  std::vector<std::string> all_overrides() const {
    std::vector<std::string> all = overrides;
    all.insert(all.end(), keys.begin(), keys.end());
    return all;
  }
};

using Gradients = std::map<std::string, Buffer>;  // by parameter

/// One way to divide the step, and its results.
struct Row {
  std::string chunk;
  double loss = 0, seconds = 0;
  Gradients gradients;
  int64_t activation_bytes = 0, boundary_bytes = 0, resident_bytes = 0;
};

struct Difference {
  double worst = 0;  // max |a − b| / max |b| of a tensor
  std::string tensor;
  std::map<std::string, double> groups;  // the largest difference of each kind of parameter
};

/// The kind of layer that a parameter belongs to.
std::string group_of(const std::string& name) {
  for (const char* part : {"experts", "router", "norm", "embed"}) {
    if (name.find(part) != std::string::npos) return part;
  }
  return name.find("feed_forward") != std::string::npos ? "mlp" : name == "lm_head.weight" ? "head" : "mamba";
}

Difference compare(const Gradients& got, const Gradients& want) {
  Difference d;
  for (const auto& [name, gradient] : want) {
    double scale = 0, worst = 0;
    bool finite = true;
    const View ours = got.at(name).view(), expected = gradient.view();  // clang 14 captures no bindings
    for_float(expected.dtype, [&](auto zero) {
      const auto *a = ours.as<decltype(zero)>(), *b = expected.as<decltype(zero)>();
      for (int64_t j = 0; j < expected.count(); ++j) {
        worst = std::max(worst, static_cast<double>(std::fabs(a[j] - b[j])));
        scale = std::max(scale, static_cast<double>(std::fabs(b[j])));
        finite = finite && std::isfinite(a[j]) && std::isfinite(b[j]);  // std::max ignores a NaN
      }
    });
    const double relative = !finite     ? std::numeric_limits<double>::infinity()
                            : scale > 0 ? worst / scale
                                        : worst;
    double& of_group = d.groups[group_of(name)];
    of_group = std::max(of_group, relative);
    if (relative > d.worst) {
      d.worst = relative;
      d.tensor = name;
    }
  }
  return d;
}

/// "whole": the length of the sequence.
int64_t chunk_of(const std::string& text, int64_t length) {
  std::optional<int64_t> chunk;
  const Field field =
      optional_integer_field("--chunks", chunk, "whole", 1, int64_t{1} << 40, "a chunk to compare");
  if (!field.read({.texts = {text}}))
    throw InputError(fmt::format("--chunks: {} is not {}", quoted_yaml(text), field.expects));
  return chunk.value_or(length);
}

Row run(Experiment& e, Model& model, Context& ctx, const Batch& batch, const std::string& chunk) {
  e.config.sequence.chunk = chunk_of(chunk, e.config.sequence.length);
  reset_peak_resident();
  ctx.arena().clear_peak();
  TrainStep step(model, ctx, with_micro_batch(e.config, 1, *e.kinds));
  const auto start = std::chrono::steady_clock::now();
  const StepFigures figures = step.compute(batch);
  Row row{.chunk = chunk, .loss = figures.loss};
  row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  row.activation_bytes = ctx.arena().peak();
  row.boundary_bytes = figures.boundary_bytes;
  row.resident_bytes = peak_resident_bytes();
  model.visit([&](Param& p) {
    if (p.grad) copy(p.grad, (row.gradients[p.name] = Buffer(p.grad.dtype, p.shape)).view());
  });
  return row;
}

/// Prints the rows of the second table. Returns whether all were equal.
bool verify_layouts(const VerifyFlags& flags, Experiment& e, const BatchSource& data, const Row& whole,
                    int64_t chunk, nlohmann::ordered_json& report) {
  e.config.sequence.chunk = chunk;
  const auto tokens = static_cast<double>(e.config.train.batch_size * e.config.sequence.length);
  if (!flags.json) {
    fmt::print("\nranks are threads; chunks of {} tokens\n", chunk);
    fmt::print("{:>12}  {:>12}  {:>10}  {:>12}  {:>11}  {}\n", "layout", "loss", "gradient", "sent a step",
               "a token", "worst tensor");
  }
  bool all_equal = true;
  for (const std::string& text : flags.layouts) {
    const LayoutStep step = step_under_layout(e, parse_layout(text), data);
    const Difference d = compare(step.gradients, whole.gradients);
    const double loss = std::fabs(step.loss - whole.loss) / std::fabs(whole.loss);
    const double per_token = static_cast<double>(step.bytes_sent) / tokens;
    const bool equal = d.worst <= flags.tolerance && loss <= flags.tolerance;
    all_equal = all_equal && equal;
    if (flags.json) {
      report["layouts"].push_back({{"layout", text},
                                   {"loss", step.loss},
                                   {"loss_difference", loss},
                                   {"gradient_difference", d.worst},
                                   {"gradient_difference_by_group", d.groups},
                                   {"worst_tensor", d.tensor},
                                   {"bytes_per_step", step.bytes_sent},
                                   {"bytes_per_token", per_token}});
    } else {
      fmt::print("{:>12}  {:>12.9f}  {:>10.2e}  {:>12}  {:>9.0f} B  {}{}\n", text, step.loss, d.worst,
                 human_bytes(step.bytes_sent), per_token, d.tensor, equal ? "" : "  DIFFERS");
    }
  }
  return all_equal;
}

int verify(const VerifyFlags& given, const LayerKinds& kinds) {
  VerifyFlags flags = given;
  // Layouts are compared with the whole step in one process, chunks with the first chunk length.
  if (flags.chunks.empty()) flags.chunks = {"whole"};
  if (given.chunks.empty() && flags.layouts.empty()) flags.chunks = {"whole", "4096", "1024", "100"};
  for (const std::string& chunk : flags.chunks)
    chunk_of(chunk, 0);  // reports a wrong chunk before files are read
  for (const std::string& layout : flags.layouts) parse_layout(layout);
  std::vector<std::string> overrides = flags.all_overrides();
  refuse_mesh_overrides(overrides,
                        "verify begins with one rank, whatever parallel says; name the meshes to compare "
                        "with --layouts, such as --layouts dp2cp4ep8scan");
  overrides.insert(overrides.end(), {"parallel.dp=1", "parallel.cp=1", "parallel.ep=1"});
  Experiment e = resolve_experiment(load_config(flags.config, overrides).loaded, 1, print_warning, kinds);
  for (const std::string& layout : flags.layouts)
    check_layout(e.config, needs_of(*e.describe()), parse_layout(layout));
  const int64_t chunk = e.config.sequence.chunk;
  e.config.sequence.gradient = GradientMode::kExact;
  const auto tokenizer = e.tokenizer ? nullptr : make_tokenizer("bytes");
  const auto data = make_batch_source(e.config.data, e.config.sequence, e.config.train,
                                      e.tokenizer ? *e.tokenizer : *tokenizer, *e.config.model.vocab_size,
                                      e.read_options(true, flags.json));
  const Batch batch = data->batch(0, 0, e.config.train.batch_size);
  AssembledModel model = e.make_model();
  Context ctx = e.context();

  const Row whole = run(e, *model, ctx, batch, flags.chunks.front());
  nlohmann::ordered_json report = {{"length", e.config.sequence.length}, {"tolerance", flags.tolerance}};
  bool all_equal = true;
  if (!flags.json) {
    fmt::print("{} tokens a row, {} rows, {} backend; differences are against the first row\n",
               e.config.sequence.length, e.config.train.batch_size, name_of(ctx.backend()));
    fmt::print("{:>8}  {:>12}  {:>10}  {:>11}  {:>11}  {:>10}  {:>8}  {}\n", "chunk", "loss", "gradient",
               "activations", "boundaries", "resident", "time", "worst tensor");
  }
  for (size_t i = 0; i < flags.chunks.size(); ++i) {
    Row other;
    if (i > 0) other = run(e, *model, ctx, batch, flags.chunks[i]);
    const Row& row = i == 0 ? whole : other;
    const Difference d = compare(row.gradients, whole.gradients);
    const double loss = std::fabs(row.loss - whole.loss) / std::fabs(whole.loss);
    const bool equal = d.worst <= flags.tolerance && loss <= flags.tolerance;
    all_equal = all_equal && equal;
    if (flags.json) {
      report["rows"].push_back({{"chunk", row.chunk},
                                {"loss", row.loss},
                                {"loss_difference", loss},
                                {"gradient_difference", d.worst},
                                {"worst_tensor", d.tensor},
                                {"activation_bytes", row.activation_bytes},
                                {"boundary_bytes", row.boundary_bytes},
                                {"peak_resident_bytes", row.resident_bytes},
                                {"seconds", row.seconds}});
    } else {
      fmt::print("{:>8}  {:>12.9f}  {:>10.2e}  {:>11}  {:>11}  {:>10}  {:>8}  {}{}\n", row.chunk, row.loss,
                 d.worst, human_bytes(row.activation_bytes), human_bytes(row.boundary_bytes),
                 human_bytes(row.resident_bytes), human_seconds(row.seconds), d.tensor,
                 equal ? "" : "  DIFFERS");
    }
  }
  if (!flags.layouts.empty()) all_equal = verify_layouts(flags, e, *data, whole, chunk, report) && all_equal;
  report["equal"] = all_equal;
  if (flags.json) {
    print_json(report);
  } else {
    fmt::print("{} within {:.0e}\n", all_equal ? "equal:" : "NOT equal:", flags.tolerance);
  }
  return all_equal ? 0 : 1;
}

}  // namespace

void add_verify(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c =
      add_command(app, "verify",
                  "The same loss and gradients however the sequence is cut, over any ranks; prints a table");
  auto f = std::make_shared<VerifyFlags>();
  as_path(c->add_option("CONFIG", f->config, "The experiment's YAML file, or a run directory"))->required();
  c->add_option("OVERRIDES", f->overrides, "section.key=value, over what the file says");
  c->add_option("--chunks", f->chunks, "Chunks to compare, the first with the others")
      ->delimiter(',')
      ->default_str("whole,4096,1024,100");
  c->add_option(
       "--layouts", f->layouts,
       "Ranks to share the step out over, compared with the first chunk: dp2, cp4, ep2, dp2cp2ep4, cp2scan")
      ->delimiter(',');
  add_number_flag(*c, "--tolerance", f->tolerance, 0, std::numeric_limits<double>::infinity(),
                  "Largest relative difference that counts as equal");
  add_key_flag(*c, "--backend", "device.backend", f->keys);
  add_key_flag(*c, "-t,--threads", "device.threads", f->keys);
  c->add_flag("--json", f->json, "Print one JSON object to stdout and nothing else there");
  c->add_flag("-q,--quiet", f->quiet, "No remarks; verify has none, scripts may pass it to every command");
  c->footer(
      "Example: natrix verify configs/quickstart.yaml sequence.length=65536 train.batch_size=1 --chunks "
      "whole,4096,1024,100\n"
      "         natrix verify configs/quickstart.yaml sequence.length=1024 --layouts "
      "dp2,dp4,cp4,cp4scan,ep4,dp2cp2ep4");
  c->callback([f, &chosen, &program] { chosen = [f, &program] { return verify(*f, program.kinds); }; });
}

}  // namespace natrix
