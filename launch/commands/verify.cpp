// natrix verify: the loss and the gradients of one optimizer step, however the sequence is cut. A table.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/report/memory.h"
#include "core/report/units.h"
#include "core/train/train_step.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/experiment.h"

namespace natrix {
namespace {

struct VerifyFlags {
  std::string config;
  std::vector<std::string> overrides, chunks = {"whole", "4096", "1024", "100"};
  std::optional<int64_t> threads;
  std::string backend;
  double tolerance = 1e-5;
  bool json = false, quiet = false;

  std::vector<std::string> all_overrides() const {
    std::vector<std::string> all = overrides;
    if (threads) all.push_back(fmt::format("device.threads={}", *threads));
    if (!backend.empty()) all.push_back("device.backend=" + backend);
    return all;
  }
};

/// One way to cut the step, and what came out of it.
struct Row {
  std::string chunk;
  double loss = 0, seconds = 0;
  std::vector<Buffer> gradients;
  int64_t activation_bytes = 0, boundary_bytes = 0, resident_bytes = 0;
};

struct Difference {
  double worst = 0;  // max |a − b| / max |b| of a tensor
  std::string tensor;
};

Difference compare(Model& model, const std::vector<Buffer>& got, const std::vector<Buffer>& want) {
  Difference d;
  size_t i = 0;
  model.visit([&](Param& p) {
    if (!p.grad) return;
    double scale = 0, worst = 0;
    for_float(p.grad.dtype, [&](auto zero) {
      const auto *a = got[i].view().as<decltype(zero)>(), *b = want[i].view().as<decltype(zero)>();
      for (int64_t j = 0; j < p.grad.count(); ++j) {
        worst = std::max(worst, static_cast<double>(std::fabs(a[j] - b[j])));
        scale = std::max(scale, static_cast<double>(std::fabs(b[j])));
      }
    });
    ++i;
    const double relative = scale > 0 ? worst / scale : worst;
    if (relative > d.worst || std::isnan(relative)) d = {relative, p.name};
  });
  return d;
}

Row run(Experiment& e, Model& model, Context& ctx, const Batch& batch, const std::string& chunk) {
  e.config.sequence.chunk = chunk == "whole" ? e.config.sequence.length : std::stoll(chunk);
  reset_peak_resident();
  ctx.arena().clear_peak();
  TrainStep step(model, ctx, e.config, needs_tally(e.config.model));
  const auto start = std::chrono::steady_clock::now();
  const StepFigures figures = step.compute(batch);
  Row row{.chunk = chunk, .loss = figures.loss};
  row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  row.activation_bytes = ctx.arena().peak();
  row.boundary_bytes = figures.boundary_bytes;
  row.resident_bytes = peak_resident_bytes();
  model.visit([&](Param& p) {
    if (!p.grad) return;
    row.gradients.emplace_back(p.grad.dtype, p.shape);
    copy(p.grad, row.gradients.back().view());
  });
  return row;
}

void check_chunks(const VerifyFlags& flags) {
  for (const std::string& c : flags.chunks) {
    const bool number =
        !c.empty() && c.size() < 13 && c.find_first_not_of("0123456789") == std::string::npos && c[0] != '0';
    if (c != "whole" && !number) {
      throw InputError(fmt::format("--chunks: {} is neither \"whole\" nor a number of tokens", c));
    }
  }
}

int verify(const VerifyFlags& flags) {
  check_chunks(flags);
  Experiment e = resolve_experiment(load_experiment(flags.config, flags.all_overrides()));
  e.config.sequence.gradient = GradientMode::kExact;
  const auto tokenizer = e.tokenizer ? nullptr : make_tokenizer("bytes");
  const auto data = make_batch_source(e.config.data, e.config.sequence, e.config.train,
                                      e.tokenizer ? *e.tokenizer : *tokenizer, *e.config.model.vocab_size);
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
    const Difference d = compare(*model, row.gradients, whole.gradients);
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
  report["equal"] = all_equal;
  if (flags.json) {
    print_json(report);
  } else {
    fmt::print("{} within {:.0e}\n", all_equal ? "equal:" : "NOT equal:", flags.tolerance);
  }
  return all_equal ? 0 : 1;
}

}  // namespace

void add_verify(CLI::App& app, Action& chosen) {
  CLI::App* c =
      app.add_subcommand("verify", "The same loss and gradients however the sequence is cut; prints a table");
  auto f = std::make_shared<VerifyFlags>();
  c->add_option("CONFIG", f->config, "The experiment's YAML file")->required();
  c->add_option("OVERRIDES", f->overrides, "section.key=value, over what the file says");
  c->add_option("--chunks", f->chunks, "Chunks to compare, the first with the others")
      ->delimiter(',')
      ->capture_default_str();
  c->add_option("--tolerance", f->tolerance, "Largest relative difference that counts as equal")
      ->capture_default_str();
  c->add_option("--backend", f->backend, "device.backend");
  c->add_option("-t,--threads", f->threads, "device.threads");
  c->add_flag("--json", f->json, "Print one JSON object to stdout and nothing else there");
  c->add_flag("-q,--quiet", f->quiet, "No remarks; verify has none, scripts may pass it to every command");
  c->footer(
      "Example: natrix verify configs/quickstart.yaml sequence.length=65536 train.batch_size=1 --chunks "
      "whole,4096,1024,100");
  c->callback([f, &chosen] { chosen = [f] { return verify(*f); }; });
}

}  // namespace natrix
