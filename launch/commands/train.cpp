// natrix train: trains the experiment that a YAML file describes.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fmt/format.h>
#include <iostream>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "configs/schema/paths.h"
#include "core/hf/hf_formats.h"
#include "core/report/units.h"
#include "core/tokenizers/byte_tokenizer_json.h"
#include "core/train/trainer.h"
#include "distributed/mpi_communicator.h"
#include "launch/agreement.h"
#include "launch/api/model_files.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/commands/number_flags.h"
#include "launch/report/report.h"
#include "launch/run_directory.h"
#include "launch/run_mesh.h"
#include "launch/training_memory.h"

namespace natrix {
namespace {

struct TrainFlags {
  std::string config;
  std::vector<std::string> overrides, keys;  // keys: overrides that come from flags such as --chunk
  bool print_config = false, dry_run = false, json = false, quiet = false;

  std::vector<std::string> all_overrides() const {
    std::vector<std::string> all = overrides;
    all.insert(all.end(), keys.begin(), keys.end());
    return all;
  }
};

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "an unnamed host";
}

/// config.json and the tokenizer's files: those of the byte tokenizer, or those of init_from.
ModelTexts texts_of(const Experiment& e) {
  const std::string inherited = e.init_dir.empty() ? "" : model_config_text(e.init_dir);
  std::optional<int64_t> eos;
  if (e.tokenizer && e.tokenizer->eod() != kNoEod) eos = e.tokenizer->eod();
  ModelTexts texts{.config = hf_config_json(e.config.model, eos, inherited)};
  if (e.tokenizer && e.tokenizer->name() == "bytes") {
    texts.tokenizer = byte_tokenizer_files(e.tokenizer->vocab_size());  // padding ids have no entry
  } else if (!e.init_dir.empty()) {
    texts.tokenizer = model_tokenizer_files(e.init_dir);
  } else if (e.tokenizer) {  // its name is the path of tokenizer.json
    texts.tokenizer = tokenizer_files(std::filesystem::path(e.tokenizer->name()).parent_path());
  }
  return texts;
}

std::unique_ptr<EvalWindows> held_out_of(const Experiment& e, const ReadOptions& options) {
  const DataConfig& data = e.config.data;
  if (data.eval.empty()) return nullptr;
  std::shared_ptr<const Corpus> corpus = open_corpus_of(data.eval, *e.tokenizer, "data.eval", options);
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
                       human_bytes(m.activations), human_bytes(m.boundaries)) +
           (m.keys_values > 0 ? fmt::format(", {} keys and values", human_bytes(m.keys_values)) : ""));
}

RunLog rank_log_of(const Experiment& e, const RunDirectory& run, const Ranks& ranks, Context& ctx) {
  if (!e.config.run.rank_logs) return {};
  ranks.world.barrier(ctx);  // wait until the first rank holds the directory's lock
  const std::string folder = run.path("ranks");
  std::error_code error;  // ignored: RunLog reports a log that cannot be written
  std::filesystem::create_directories(folder, error);
  RunLog log = RunLog::to_file(fmt::format("{}/rank-{:03}.log", folder, ranks.world.rank()));
  const RankShare& share = ranks.share;
  log.info(fmt::format("rank {} of {}: dp_rank {}, cp_rank {}, process {} on {}", ranks.world.rank(),
                       ranks.world.size(), share.dp_rank, share.cp_rank, getpid(), host_name()));
  return log;
}

/// Logs which part of the communication time was hidden behind computation.
void log_travel(RunLog& log, std::string_view what, const Traffic& t, std::string_view meanwhile) {
  if (t.under_way <= 0) return;
  log.info(fmt::format("{} travelled for {}, {:.0f} % of it while {}", what, human_seconds(t.under_way),
                       100 * (1 - t.waiting / t.under_way), meanwhile));
}

/// Runs run(), and logs how it ended as the last line.
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

int train(const TrainFlags& flags, const Program& program) {
  MpiSession& session = program.session;
  std::vector<std::string> warnings;  // printed once the run's log exists
  const ConfigSource source = load_config(flags.config, flags.all_overrides());
  const Experiment e = resolve_experiment(
      source.loaded, session.size(), [&](const std::string& what) { warnings.push_back(what); },
      program.kinds);
  if (session.rank() == 0 && (flags.print_config || flags.dry_run)) {
    for (const std::string& what : warnings) print_warning(what);
  }
  if (flags.print_config) {
    if (session.rank() == 0) std::cout << to_yaml(e.loaded, true);
    return 0;
  }
  if (flags.dry_run) {
    RunLog log("", false);
    if (session.rank() == 0) describe(e, session.size(), log);
    return 0;
  }
  require_recorded_data(source);
  const auto tokenizer = e.tokenizer ? nullptr : make_tokenizer("bytes");
  const ReadOptions options = e.read_options(session.rank() == 0, flags.quiet);
  const auto data =
      make_batch_source(e.config.data, e.config.sequence, e.config.train,
                        e.tokenizer ? *e.tokenizer : *tokenizer, *e.config.model.vocab_size, options);
  const auto held_out = held_out_of(e, options);
  RunDirectory run(e);
  if (session.rank() == 0) run.compare_with_origin(source, *data, held_out.get());
  if (session.rank() == 0) run.check_writable();
  Context ctx = e.context();
  RunMesh mesh(e.config, ctx, session.world());
  const Ranks ranks = mesh.ranks();
  AssembledModel model = run.goes_on() ? e.make_fresh_model(mesh.exchange()) : e.make_model(mesh.exchange());
  AssembledModel whole = e.describe();
  require_agreement(e, *data, ranks.world, ctx);
  const bool first = ranks.world.rank() == 0;
  if (first) run.create();
  RunLog log = first ? RunLog(run.path("natrix.log"), flags.quiet) : RunLog();
  RunLog rank_log = rank_log_of(e, run, ranks, ctx);
  for (const std::string& what : warnings) log.warn(what);
  if (first) describe(e, ranks.world.size(), log);
  for (const std::string& remark : data->remarks(e.config.train.steps)) log.info(remark);
  if (ranks.world.size() > 1) {
    log.info(fmt::format("{} ranks: dp {} x cp {}, ep {}", ranks.world.size(), mesh.shape().dp,
                         mesh.shape().cp, mesh.shape().ep));
  }

  TrainStep step(*model, ctx, with_micro_batch(e.config, mesh.shape().dp, program.kinds), ranks);
  Optimizer optimizer(e.config.optimizer, model->params(), ranks.gradients);
  RunCheckpoint checkpoint(run.path("checkpoints"), texts_of(e), *model, *whole, optimizer, step, ranks.world,
                           ranks.placement);
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
                   .ranks = ranks});
  for (const std::string& change : run.changes()) log.info(change);
  const int status = log_the_end(rank_log, [&] {
    trainer.resume();
    if (first) run.write_config();  // after the checkpoints were read: a refused run changes nothing
    return trainer.run();
  });
  if (!first) return status;
  log_travel(log, ranks.gradients.shards_updates() ? "gradients and updated weights" : "gradients",
             mesh.gradient_traffic(), "backward ran");
  log_travel(log, "experts' rows", mesh.expert_traffic(), "experts computed");
  if (status == 0) {
    const std::string report = run.path("report.html");
    write_report({e.config.run.dir}, report);
    log.info(fmt::format("done; the report is {}", shown_path(report)));
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

void add_train(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c = add_command(app, "train", "Train the experiment that a YAML describes");
  auto f = std::make_shared<TrainFlags>();
  as_path(
      c->add_option("CONFIG", f->config, "The experiment's YAML file, or a run directory: that run goes on"))
      ->required();
  c->add_option("OVERRIDES", f->overrides, "section.key=value, over what the file says");
  add_key_flag(*c, "--chunk", "sequence.chunk", f->keys);
  add_key_flag(*c, "--backend", "device.backend", f->keys);
  add_key_flag(*c, "-t,--threads", "device.threads", f->keys);
  c->add_flag("--print-config", f->print_config,
              "Print the resolved configuration, with where each value came from, and stop");
  c->add_flag("--dry-run", f->dry_run, "Print sizes and memory, and stop")->excludes("--print-config");
  c->add_flag("--json", f->json, "Print one JSON object to stdout at the end: where the run stands")
      ->excludes("--print-config", "--dry-run");
  c->add_flag("-q,--quiet", f->quiet, "Only warnings on stderr");
  c->footer(
      "Example: natrix train configs/quickstart.yaml train.steps=200 run.dir=runs/short\n"
      "         mpirun -n 4 natrix train configs/quickstart.yaml parallel.cp=2 parallel.ep=4\n"
      "A run that was stopped or killed goes on from its newest checkpoint when the same command is started "
      "again,\nor when its directory is given, wherever that lies now: natrix train runs/quickstart.");
  c->callback([f, &chosen, &program] { chosen = [f, &program] { return train(*f, program); }; });
}

}  // namespace natrix
