#include "launch/run_directory.h"

#include <filesystem>
#include <fmt/format.h>

#include "configs/field.h"
#include "configs/paths.h"
#include "core/io/atomic_file.h"
#include "core/io/checkpoint_dir.h"

namespace natrix {

RunDirectory::RunDirectory(const Experiment& experiment)
    : experiment_(experiment), dir_(experiment.config.run.dir) {
  if (!holds_checkpoints(path("checkpoints"))) return;
  if (!experiment.config.checkpoint.resume) {
    throw InputError(fmt::format(
        "run.dir {}: checkpoint.resume is never, but there are checkpoints; choose another run.dir, remove "
        "this one, or go on from it with checkpoint.resume=auto",
        shown_path(dir_)));
  }
  if (std::filesystem::exists(path("config.yaml"))) compare_with_earlier();
}

void RunDirectory::compare_with_earlier() {
  LoadedConfig earlier = load_experiment(path("config.yaml"));
  ExperimentConfig now = experiment_.config;
  make_paths_absolute(now);  // as those of config.yaml are
  const std::vector<Field> before = fields_of(earlier.config), after = fields_of(now);
  std::string contradictions;
  for (size_t i = 0; i < after.size(); ++i) {
    const std::string& key = after[i].key;
    if (key == "run.dir" || before[i].print() == after[i].print()) continue;
    changes_.push_back(fmt::format("{}: {}, was {}", key, after[i].print(), before[i].print()));
    if (!key.starts_with("model.")) continue;
    contradictions += fmt::format("{}{} ({})", contradictions.empty() ? "" : "; ", changes_.back(),
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

void RunDirectory::create() {
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
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
}

}  // namespace natrix
