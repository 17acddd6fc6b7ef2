// RunDirectory: decides whether an experiment may run in its run.dir, and how it differs from the run there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/files/directory_lock.h"
#include "core/text/batches.h"
#include "launch/config_source.h"
#include "launch/experiment.h"
#include "launch/run_origin.h"

namespace natrix {

class RunDirectory {
 public:
  /// Changes nothing. InputError if run.dir holds checkpoints of another model, if it holds any checkpoints
  /// and checkpoint.resume is never, or if its checkpoints are lost.
  explicit RunDirectory(const Experiment& experiment);

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  /// Whether there are checkpoints to resume from.
  bool goes_on() const { return goes_on_; }
  /// The differences from the settings that the run began with, one line each: "changed since the run began:
  /// train.steps: 200, was 100".
  const std::vector<std::string>& changes() const { return changes_; }

  /// InputError if the directory cannot be created or written. Changes nothing.
  void check_writable() const;
  /// Rank 0 calls this before create(). Compares the YAML file and the data with those that the run was
  /// started with. InputError if the run was started from another YAML file with the same default directory,
  /// or if its carried states do not fit the next batch.
  void compare_with_origin(const ConfigSource& source, const BatchSource& data, const EvalWindows* held_out);

  /// Creates the directory and locks it for this process. InputError while another run writes there.
  void create();
  /// Writes the resolved config.yaml, with which natrix train trains the same, and run.json,
  /// the run's origin.
  void write_config() const;

 private:
  void refuse_lost_checkpoints() const;
  void compare_with_earlier();
  void compare_file(const RunOrigin& before, const ConfigSource& source, bool same_data);
  void refuse_unfit_states(const std::string& data_change) const;

  const Experiment& experiment_;
  std::string dir_;
  bool goes_on_ = false;
  std::optional<ExperimentConfig> earlier_;  // configuration of the run in this directory, if known
  std::vector<std::string> changes_;
  RunOrigin origin_;
  DirectoryLock lock_;
};

}  // namespace natrix
