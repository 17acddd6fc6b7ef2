#include "launch/experiment.h"

#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "configs/schema/field.h"
#include "core/io/checkpoint_dir.h"
#include "core/layers/init.h"
#include "core/text/chat_conversations.h"
#include "core/text/own_tokenizer.h"
#include "kernels/base/build.h"
#include "launch/api/machine.h"
#include "launch/api/model_files.h"
#include "launch/architecture.h"
#include "launch/run_mesh.h"

namespace natrix {
namespace {

/// model.init_from sets the architecture. Keys of the architecture that are also set must agree with it.
void adopt_checkpoint(Experiment& e, const std::function<void(const std::string&)>& warn) {
  e.init_dir = resolve_model_dir(e.config.model.init_from);
  std::string untied;  // the reason why the head is not tied although config.json ties it; or empty
  const ModelConfig found = read_checkpoint_model(
      e.init_dir, [&](const std::string& why) { untied = why; }, *e.kinds);
  for (const std::string& key : set_against_checkpoint(e.loaded, found)) {
    if (key == "model.tie_embeddings" && !untied.empty()) {
      throw InputError(fmt::format("{}: model.tie_embeddings is true, but {}; leave the key out",
                                   e.loaded.origin_of(key), untied));
    }
    throw InputError(
        fmt::format("{}: {} does not agree with model.init_from ({}); leave the key out, or train from a "
                    "fresh model without init_from",
                    e.loaded.origin_of(key), key, e.init_dir));
  }
  if (!untied.empty()) warn(untied);
  const std::string init_from = e.config.model.init_from;
  e.config.model = with_training_settings(found, e.loaded);
  e.config.model.init_from = init_from;
}

/// The tokenizer of the text. If natrix cannot read init_from's own tokenizer, it does not silently read bytes
/// instead: the user has to ask for that.
std::unique_ptr<Tokenizer> tokenizer_of_text(const Experiment& e, const OwnTokenizer& own) {
  const std::optional<int64_t>& size = e.config.model.vocab_size;
  const bool asked = e.loaded.was_set("data.tokenizer") && own.kind != OwnTokenizer::Kind::kBytes;
  if (e.init_dir.empty() || asked || e.config.data.tokenizer != "bytes") {
    return make_tokenizer(e.config.data.tokenizer, size);
  }
  return make_own_tokenizer(
      own, *size,
      "model.init_from can be trained on tokens (data.batches), or on bytes all the same "
      "with data.tokenizer=bytes");
}

/// The model of the run in run.dir, if it has checkpoints and recorded its model. It resolved init_from when it
/// began.
std::optional<ModelConfig> model_of_run(const ExperimentConfig& config) {
  const std::string& dir = config.run.dir;
  if (!config.checkpoint.resume || !std::filesystem::exists(dir + "/config.yaml") ||
      !holds_checkpoints(dir + "/checkpoints"))
    return std::nullopt;
  return load_experiment(dir + "/config.yaml").config.model;
}

/// The directory of init_from if it still exists; otherwise nothing.
std::string init_dir_if_any(const std::string& init_from) {
  try {
    return resolve_model_dir(init_from);
  } catch (const InputError&) {
    return "";
  }
}

/// A resumed run has its weights in its own checkpoints, so init_from may have moved or be gone. Keys that are
/// not set are taken from the run. RunDirectory compares those that are set.
void adopt_run(Experiment& e, const ModelConfig& of_run,
               const std::function<void(const std::string&)>& warn) {
  const std::string init_from = e.config.model.init_from;
  ModelConfig model = of_run;
  const std::vector<Field> from = model_fields_of(model), to = model_fields_of(e.config.model);
  const auto was_set = [&](const std::string& key) {
    if (key == "model.pattern" || key == "model.repeat")  // the two keys have a meaning only together
      return e.loaded.was_set("model.pattern") || e.loaded.was_set("model.repeat");
    return e.loaded.was_set(key);
  };
  for (size_t i = 0; i < to.size(); ++i) {
    if (!was_set(to[i].key)) to[i].set(from[i].get());
  }
  e.config.model.init_from = init_from;
  e.init_dir = init_dir_if_any(init_from);
  if (!e.init_dir.empty()) {
    const ModelConfig found =
        with_training_settings(read_checkpoint_model(e.init_dir, warn, *e.kinds), of_run);
    const std::vector<std::string> differing = differing_model_keys(of_run, found, *e.kinds);
    if (differing.empty()) return;
    throw InputError(fmt::format(
        "{}: model.init_from: {} is another model than that of the run in run.dir {}, by {}; a run keeps its "
        "model: choose another run.dir to begin from this one",
        e.loaded.origin_of("model.init_from"), e.init_dir, e.config.run.dir, fmt::join(differing, ", ")));
  }
  if (const auto newest = newest_with_texts(e.config.run.dir + "/checkpoints")) e.init_dir = newest->dir;
}

void settle_vocabulary(Experiment& e) {
  const OwnTokenizer own = e.init_dir.empty() ? OwnTokenizer() : model_tokenizer(e.init_dir);
  std::optional<int64_t>& size = e.config.model.vocab_size;
  const bool text = e.config.data.batches.empty();
  if (!text && e.config.data.eval.empty()) {
    if (!size) {
      throw InputError(
          "model.vocab_size is auto, but data.batches holds tokens without a tokenizer: set "
          "model.vocab_size");
    }
    if (e.config.data.tokenizer == "bytes" && own.kind != OwnTokenizer::Kind::kJson &&
        may_read_text(own, *size))
      e.tokenizer = make_own_tokenizer(own, *size, "");
    return;
  }
  e.tokenizer = tokenizer_of_text(e, own);
  const bool bytes = e.tokenizer->name() == "bytes";
  if (!bytes || !e.init_dir.empty())
    e.conversations = conversations_of(bytes ? e.init_dir : e.tokenizer->name());
  if (!size) size = e.tokenizer->vocab_size();
}

/// Records the resolved values and their origins for the printed configuration.
void record_resolved(Experiment& e) {
  const std::string source = e.config.model.init_from.empty() ? "the tokenizer" : "model.init_from";
  ExperimentConfig resolved = e.config;
  const std::vector<Field> before = fields_of(e.loaded.config), after = fields_of(resolved);
  for (size_t i = 0; i < after.size(); ++i) {
    if (before[i].print() != after[i].print()) e.loaded.origin[after[i].key] = source;
  }
  e.loaded.config = e.config;
}

}  // namespace

Experiment resolve_experiment(LoadedConfig loaded, int ranks,
                              const std::function<void(const std::string&)>& warn, const LayerKinds& kinds) {
  Experiment e;
  e.kinds = &kinds;
  e.config = loaded.config;
  e.loaded = std::move(loaded);
  settle_mesh(e.config.parallel, ranks);  // before files are read
  kinds.check(e.config.model.pattern, e.loaded.origin_of("model.pattern") + ": model.pattern");
  if (!e.config.model.init_from.empty()) {
    const std::optional<ModelConfig> of_run = model_of_run(e.config);
    of_run ? adopt_run(e, *of_run, warn) : adopt_checkpoint(e, warn);
  }
  settle_vocabulary(e);
  check_layout(e.config, needs_of(*e.describe()), settle_mesh(e.config.parallel, ranks));
  record_resolved(e);
  if (e.dtype() == Dtype::kBF16) kinds.check_bf16(e.config.model.pattern);
  return e;
}

Backend Experiment::backend() const {
  switch (config.device.backend) {
    case DeviceBackend::kAuto: return automatic_backend();
    case DeviceBackend::kCpu: return Backend::kCpu;
    case DeviceBackend::kReference: return Backend::kReference;
    case DeviceBackend::kCuda:
      if constexpr (build::kCuda) return Backend::kCuda;
      break;
  }
  throw InputError("device.backend: cuda is not in this build of natrix; use cpu");
}

Dtype Experiment::dtype() const {
  if (config.device.dtype == DeviceDtype::kFp32) return Dtype::kF32;
  if (config.device.dtype == DeviceDtype::kFp64 && backend() == Backend::kReference) return Dtype::kF64;
  if (config.device.dtype == DeviceDtype::kBf16 && backend() == Backend::kCuda) return Dtype::kBF16;
  throw InputError(config.device.dtype == DeviceDtype::kFp64
                       ? "device.dtype: fp64 needs device.backend: reference"
                       : "device.dtype: bf16 needs device.backend: cuda; the CPU computes in fp32");
}

int Experiment::threads() const {
  return static_cast<int>(config.device.threads.value_or(threads_of_a_rank()));
}

Context Experiment::context() const {
  return Context(backend(), threads(), place_on_host());
}

ReadOptions Experiment::read_options(bool first, bool quiet) const {
  return {.cache = config.data.cache == "auto" ? "" : config.data.cache,
          .threads = static_cast<int>(config.device.threads.value_or(0)),  // other ranks only wait
          .quiet = quiet || !first,
          .first = first,
          .chat = conversations.get()};
}

AssembledModel Experiment::describe() const {
  return describe_model(config.model, nullptr, *kinds);
}

AssembledModel Experiment::make_fresh_model(std::unique_ptr<RowExchange> exchange) const {
  AssembledModel model =
      assemble_model(config.model, dtype(), true, memory_of(backend()), std::move(exchange), *kinds);
  initialise(model->params(), config.train.seed, static_cast<int64_t>(config.model.sublayers().size()));
  return model;
}

AssembledModel Experiment::make_model(std::unique_ptr<RowExchange> exchange) const {
  if (init_dir.empty()) return make_fresh_model(std::move(exchange));
  return load_model(init_dir, config.model, dtype(), true, memory_of(backend()), std::move(exchange), *kinds);
}

}  // namespace natrix
