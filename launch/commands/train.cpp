// natrix train: the experiment that a YAML describes.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unistd.h>

#include "core/io/byte_tokenizer_json.h"
#include "core/io/hf_formats.h"
#include "core/report/report.h"
#include "core/report/units.h"
#include "core/train/trainer.h"
#include "distributed/mpi_communicator.h"
#include "launch/agreement.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/run_directory.h"
#include "launch/run_mesh.h"
#include "launch/training_memory.h"

namespace natrix {
namespace {

struct TrainFlags {
  std::string config;
  std::vector<std::string> overrides;
  std::optional<int64_t> chunk, threads;
  std::string backend;
  bool print_config = false, dry_run = false, json = false, quiet = false;

  /// Flags are overrides with a shorter name.
  std::vector<std::string> all_overrides() const {
    std::vector<std::string> all = overrides;
    if (chunk) all.push_back(fmt::format("sequence.chunk={}", *chunk));
    if (threads) all.push_back(fmt::format("device.threads={}", *threads));
    if (!backend.empty()) all.push_back("device.backend=" + backend);
    return all;
  }
};

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "an unnamed host";
}

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// config.json and, for byte-level models, the tokenizer's files.
ModelTexts texts_of(const Experiment& e) {
  const int64_t vocabulary = *e.config.model.vocab_size;
  const std::string inherited = e.init_dir.empty() ? "" : read_text(e.init_dir + "/config.json");
  std::optional<int64_t> eos;
  if (e.tokenizer && e.tokenizer->eod() != kNoEod) eos = e.tokenizer->eod();
  ModelTexts texts{.config = hf_config_json(e.config.model, eos, inherited)};
  if (e.tokenizer && e.tokenizer->name() == "bytes" && (vocabulary == 256 || vocabulary == 257)) {
    texts.tokenizer = byte_tokenizer_json(vocabulary);
    texts.tokenizer_config = byte_tokenizer_config_json(vocabulary);
  } else if (!e.init_dir.empty() && std::filesystem::exists(e.init_dir + "/tokenizer.json")) {
    texts.tokenizer = read_text(e.init_dir + "/tokenizer.json");
    texts.tokenizer_config = read_text(e.init_dir + "/tokenizer_config.json");
  }
  return texts;
}

std::unique_ptr<EvalWindows> held_out_of(const Experiment& e) {
  const DataConfig& data = e.config.data;
  if (data.eval.empty()) return nullptr;
  std::shared_ptr<const Corpus> corpus = open_corpus(data.eval, *e.tokenizer, "data.eval");
  return std::make_unique<EvalWindows>(corpus, data.documents, e.config.sequence.length,
                                       e.config.train.eval_tokens);
}

void describe(const Experiment& e, int ranks, RunLog& log) {
  AssembledModel model = e.describe();
  const ParameterCount n = model->count_parameters();
  const RankMemory m = training_memory(e, ranks);
  const SequenceConfig& s = e.config.sequence;
  log.info(fmt::format("{} x {}: {} parameters ({} active), d_model {}, vocabulary {}",
                       e.config.model.pattern, e.config.model.repeat,
                       human_count(static_cast<double>(n.total)), human_count(static_cast<double>(n.active)),
                       e.config.model.d_model, *e.config.model.vocab_size));
  log.info(fmt::format("{} steps of {} x {} tokens, in chunks of {}; {} backend, {} threads",
                       e.config.train.steps, e.config.train.batch_size, s.length, s.chunk,
                       name_of(e.backend()), e.threads()));
  log.info(fmt::format("memory: {} weights, {} gradients, {} optimizer, {} activations, {} boundary states",
                       human_bytes(m.weights + m.rounded), human_bytes(m.gradients), human_bytes(m.optimizer),
                       human_bytes(m.activations), human_bytes(m.boundaries)));
}

RunLog rank_log_of(const Experiment& e, const RunDirectory& run, RankGroup& group, Context& ctx) {
  if (!e.config.run.rank_logs) return {};
  group.largest(ctx, 0);  // the directory is ours once the first rank holds it
  const std::string folder = run.path("ranks");
  std::error_code error;  // says the log itself, if it cannot be written
  std::filesystem::create_directories(folder, error);
  RunLog log = RunLog::to_file(fmt::format("{}/rank-{:03}.log", folder, group.rank()));
  const RankShare share = group.share();
  log.info(fmt::format("rank {} of {}: dp_rank {}, cp_rank {}, process {} on {}", group.rank(), group.size(),
                       share.dp_rank, share.cp_rank, getpid(), host_name()));
  return log;
}

/// How much of what ranks sent each other was hidden behind what they computed meanwhile.
void log_travel(RunLog& log, std::string_view what, const Traffic& t, std::string_view meanwhile) {
  if (t.under_way <= 0) return;
  log.info(fmt::format("{} travelled for {}, {:.0f} % of it while {}", what, human_seconds(t.under_way),
                       100 * (1 - t.waiting / t.under_way), meanwhile));
}

/// What ends this rank is the last line of its log.
int log_the_end(RunLog& log, const std::function<int()>& run) {
  try {
    const int status = run();
    log.info(fmt::format("ended with status {}", status));
    return status;
  } catch (const std::exception& e) {
    log.warn(fmt::format("ended: {}", e.what()));
    throw;
  }
}

int train(const TrainFlags& flags, MpiSession& session) {
  const Experiment e =
      resolve_experiment(load_experiment(flags.config, flags.all_overrides()), session.size());
  if (flags.print_config) {
    if (session.rank() == 0) std::cout << to_yaml(e.loaded, true);
    return 0;
  }
  if (flags.dry_run) {
    RunLog log("", false);
    if (session.rank() == 0) describe(e, session.size(), log);
    return 0;
  }
  const auto tokenizer = e.tokenizer ? nullptr : make_tokenizer("bytes");
  const auto data = make_batch_source(e.config.data, e.config.sequence, e.config.train,
                                      e.tokenizer ? *e.tokenizer : *tokenizer, *e.config.model.vocab_size);
  const auto held_out = held_out_of(e);
  RunDirectory run(e);
  Context ctx = e.context();
  RunMesh mesh(e.config, ctx, session.world());
  RankGroup& group = mesh.group();
  AssembledModel model = e.make_model(mesh.exchange());
  AssembledModel whole = e.describe();
  require_agreement(e, *data, group, ctx);
  const bool first = group.rank() == 0;
  if (first) run.create();
  RunLog log = first ? RunLog(run.path("natrix.log"), flags.quiet) : RunLog();
  RunLog rank_log = rank_log_of(e, run, group, ctx);
  if (first) describe(e, group.size(), log);
  if (group.size() > 1) {
    log.info(fmt::format("{} ranks: dp {} x cp {}, ep {}", group.size(), mesh.shape().dp, mesh.shape().cp,
                         mesh.shape().ep));
  }

  TrainStep step(*model, ctx, with_micro_batch(e.config, mesh.shape().dp), group);
  Optimizer optimizer(e.config.optimizer, model->params(), group);
  RunCheckpoint checkpoint(run.path("checkpoints"), texts_of(e), *model, *whole, optimizer, step, group);
  Trainer trainer({.config = e.config,
                   .model = *model,
                   .ctx = ctx,
                   .data = *data,
                   .held_out = held_out.get(),
                   .step = step,
                   .optimizer = optimizer,
                   .checkpoint = checkpoint,
                   .log = log,
                   .rank_log = rank_log,
                   .group = group});
  for (const std::string& change : run.changes()) log.info("changed since the run began: " + change);
  const int status = log_the_end(rank_log, [&] {
    trainer.resume();
    if (first) run.write_config();  // after the checkpoints proved usable: a refused run changes nothing
    return trainer.run();
  });
  if (!first) return status;
  log_travel(log, group.shares_updates() ? "gradients and updated weights" : "gradients",
             mesh.gradient_traffic(), "backward ran");
  log_travel(log, "experts' rows", mesh.expert_traffic(), "experts computed");
  if (status == 0) {
    const std::string report = run.path("report.html");
    write_report({e.config.run.dir}, report);
    log.info(fmt::format("done; the report is {}", report));
  }
  if (flags.json) {
    print_json({{"run", e.config.run.dir},
                {"done", status == 0},
                {"step", trainer.position().step},
                {"tokens", trainer.position().tokens}});
  }
  return status;
}

}  // namespace

void add_train(CLI::App& app, Action& chosen, MpiSession& session) {
  CLI::App* c = add_command(app, "train", "Train the experiment that a YAML describes");
  auto f = std::make_shared<TrainFlags>();
  c->add_option("CONFIG", f->config, "The experiment's YAML file")->required();
  c->add_option("OVERRIDES", f->overrides, "section.key=value, over what the file says");
  c->add_option("--chunk", f->chunk, "sequence.chunk");
  c->add_option("--backend", f->backend, "device.backend");
  c->add_option("-t,--threads", f->threads, "device.threads");
  c->add_flag("--print-config", f->print_config,
              "Print the resolved configuration, with where each value came from, and stop");
  c->add_flag("--dry-run", f->dry_run, "Print sizes and memory, and stop");
  c->add_flag("--json", f->json, "Print one JSON object to stdout at the end: where the run stands");
  c->add_flag("-q,--quiet", f->quiet, "Only warnings on stderr");
  c->footer(
      "Example: natrix train configs/quickstart.yaml train.steps=200 run.dir=runs/short\n"
      "         mpirun -n 4 natrix train configs/quickstart.yaml parallel.cp=2 parallel.ep=4\n"
      "A run that was stopped or killed goes on from its newest checkpoint when the same command is started "
      "again.");
  c->callback([f, &chosen, &session] { chosen = [f, &session] { return train(*f, session); }; });
}

}  // namespace natrix
