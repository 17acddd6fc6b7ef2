#include "launch/run_directory.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "configs/schema/field.h"
#include "configs/schema/paths.h"
#include "core/files/atomic_file.h"
#include "core/files/xxhash64.h"
#include "core/io/checkpoint_dir.h"
#include "launch/architecture.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSince = "changed since the run began";

RunOrigin origin_of(const Experiment& e, const std::string& file, const BatchSource& data,
                    const EvalWindows* held_out, const RunOrigin& before) {
  std::error_code error;
  const fs::path full = fs::weakly_canonical(file, error);
  RunOrigin origin{.config_file = error ? file : full.string(), .config_hash = hash_file(file), .data = {}};
  const auto add = [&](const std::string& key, const std::vector<DataFile>& files,
                       const std::vector<std::string>& paths) {
    const auto at = before.data.find(key);
    origin.data[key] = identify(files, paths, at == before.data.end() ? 0 : at->second.hashed);
  };
  if (e.config.data.batches.empty()) {
    add("data.train", data.files(), paths_of(e.config.data.train));
  } else {
    add("data.batches", data.files(), {e.config.data.batches});
  }
  if (held_out != nullptr) add("data.eval", held_out->files(), paths_of(e.config.data.eval));
  return origin;
}

}  // namespace

RunDirectory::RunDirectory(const Experiment& experiment)
    : experiment_(experiment), dir_(experiment.config.run.dir) {
  refuse_lost_checkpoints();
  goes_on_ = holds_checkpoints(path("checkpoints"));
  if (!goes_on_) return;
  if (!experiment.config.checkpoint.resume) {
    throw InputError(fmt::format(
        "run.dir {}: checkpoint.resume is never, but there are checkpoints; choose another run.dir, remove "
        "this one, or go on from it with checkpoint.resume=auto",
        shown_path(dir_)));
  }
  if (fs::exists(path("config.yaml"))) compare_with_earlier();
}

/// A run that had checkpoints must not start again at step 0 and overwrite its remaining files.
void RunDirectory::refuse_lost_checkpoints() const {
  std::error_code error;
  std::string lost = missing_checkpoint(path("checkpoints"));
  if (fs::is_symlink(fs::symlink_status(dir_, error)) && !fs::exists(dir_, error)) {
    lost = "it is a link to " + fs::read_symlink(dir_, error).string() + ", which is not there";
  } else if (lost.empty() && !holds_checkpoints(path("checkpoints"))) {
    const auto curve = fs::file_size(path("metrics.jsonl"), error);
    if (!error && curve > 0)
      lost = fmt::format("metrics.jsonl has the steps of a run, but there is no checkpoint in {}",
                         path("checkpoints"));
  }
  if (lost.empty()) return;
  throw InputError(fmt::format(
      "run.dir {}: {}; bring back what is missing (from a copy, or by mounting its disk), or, to start "
      "from scratch, choose another run.dir or remove this one",
      dir_, lost));
}

void RunDirectory::compare_with_earlier() {
  earlier_ = load_experiment(path("config.yaml")).config;
  ExperimentConfig now = experiment_.config;
  make_paths_absolute(now);  // as the paths in config.yaml are
  const std::vector<std::string> of_model =
      differing_model_keys(earlier_->model, now.model, *experiment_.kinds);
  const std::vector<Field> before = fields_of(*earlier_), after = fields_of(now);
  std::string contradictions;
  for (size_t i = 0; i < after.size(); ++i) {
    const std::string& key = after[i].key;
    if (key == "run.dir" || before[i].print() == after[i].print()) continue;
    const bool contradicts = std::find(of_model.begin(), of_model.end(), key) != of_model.end();
    if (key.starts_with("model.") && key != "model.init_from" && !contradicts)
      continue;  // the same architecture, written differently
    const std::string change = fmt::format("{}: {}, was {}", key, after[i].print(), before[i].print());
    changes_.push_back(fmt::format("{}: {}", kSince, change));
    if (!contradicts) continue;
    contradictions += fmt::format("{}{} ({})", contradictions.empty() ? "" : "; ", change,
                                  experiment_.loaded.origin_of(key));
  }
  if (contradictions.empty()) return;
  throw InputError(fmt::format(
      "run.dir {}: its checkpoints are of another model: {}; a run keeps its model: choose another "
      "run.dir, or set back what differs",
      shown_path(dir_), contradictions));
}

void RunDirectory::check_writable() const {
  check_output_directory("run.dir", dir_);
  const std::string folder = path("checkpoints");
  std::error_code ignored;
  const auto type = std::filesystem::status(folder, ignored).type();
  if (type == std::filesystem::file_type::not_found || type == std::filesystem::file_type::directory) return;
  throw InputError(
      fmt::format("run.dir {}: {} is not a directory; remove it, or choose another run.dir", dir_, folder));
}

void RunDirectory::compare_with_origin(const ConfigSource& source, const BatchSource& data,
                                       const EvalWindows* held_out) {
  const std::optional<RunOrigin> before = read_run_origin(path("run.json"));
  origin_ = origin_of(experiment_, source.file, data, held_out, before.value_or(RunOrigin()));
  if (source.is_runs) {  // keep the file that the run was started with
    const auto origin =
        goes_on_ ? before : read_run_origin((fs::path(source.file).parent_path() / "run.json").string());
    origin_.config_file = origin ? origin->config_file : "";
    origin_.config_hash = origin ? origin->config_hash : "";
  }
  if (!goes_on_) return;
  std::string train_change;
  for (const auto& [key, now] : origin_.data) {
    if (!before || !before->data.contains(key)) continue;
    const std::string change = difference(before->data.at(key), now);
    if (change.empty()) continue;
    changes_.push_back(fmt::format("{} {}: {}", key, kSince, change));
    if (key != "data.eval") train_change = fmt::format("{}: {}", key, change);
  }
  if (before && !source.is_runs) compare_file(*before, source, train_change.empty());
  refuse_unfit_states(train_change);
}

/// Two files of the same name in different folders have the same default run.dir. A file that was moved or
/// copied is still the same experiment.
void RunDirectory::compare_file(const RunOrigin& before, const ConfigSource& source, bool same_data) {
  if (experiment_.loaded.was_set("run.dir") || before.config_file.empty()) return;
  if (before.config_file == origin_.config_file) return;
  std::error_code error;
  const bool equal = before.config_hash == origin_.config_hash;
  const bool gone = !fs::exists(before.config_file, error);
  if ((equal && gone) || ((equal || gone) && same_data)) return;
  throw InputError(fmt::format(
      "run.dir {}: the run there was started from {}, not from {}; both mean this directory, because "
      "it is the default of their name; set run.dir to another one, or, to go on with that run, "
      "run.dir={}",
      dir_, before.config_file, source.file, dir_));
}

/// Carried states belong to the text just before the next step's, so a row can continue only with that text.
void RunDirectory::refuse_unfit_states(const std::string& data_change) const {
  const bool carried = earlier_ && earlier_->sequence.carry_state && experiment_.config.sequence.carry_state;
  const auto newest = newest_with_texts(path("checkpoints"));
  if (!carried || (newest && newest->step == 0)) return;
  ExperimentConfig was = *earlier_, is = experiment_.config;
  const std::vector<Field> before = fields_of(was), after = fields_of(is);
  std::vector<std::string> unfit, keys;
  for (size_t i = 0; i < after.size(); ++i) {
    const std::string& key = after[i].key;
    const bool decides = key == "sequence.length" || key == "train.batch_size" || key == "data.order";
    if (!decides || before[i].print() == after[i].print()) continue;
    keys.push_back(key);
    unfit.push_back(fmt::format("{}: {}, was {}", key, after[i].print(), before[i].print()));
  }
  if (was.data.batches.empty() != is.data.batches.empty()) {
    keys.push_back(is.data.batches.empty() ? "data.batches" : "data.train");
    unfit.push_back("other data are read instead");
  } else if (!data_change.empty()) {
    keys.push_back(is.data.batches.empty() ? "data.train" : "data.batches");
    unfit.push_back(data_change);
  }
  if (unfit.empty()) return;
  throw InputError(fmt::format(
      "run.dir {}: {} must stay as it was while states are carried from step to step "
      "(sequence.carry_state): {}; set back what changed since the run began, or, to start from scratch, "
      "choose another run.dir or remove this one",
      dir_, fmt::join(keys, " and "), fmt::join(unfit, "; ")));
}

void RunDirectory::create() {
  std::error_code error;
  fs::create_directories(dir_, error);
  if (error) {
    const std::string text =
        fmt::format("run.dir {}: cannot be created: {}; choose a directory that can be written",
                    shown_path(dir_), error.message());
    if (is_fault_of_path(error.value())) throw InputError(text);
    throw RunError(text);
  }
  lock_ = DirectoryLock(dir_, "run.dir");
}

void RunDirectory::write_config() const {
  write_file(path("config.yaml"), to_yaml(experiment_.loaded, false));
  write_run_origin(path("run.json"), origin_);
}

}  // namespace natrix
