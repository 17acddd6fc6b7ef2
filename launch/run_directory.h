// RunDirectory: whether an experiment may be run where it asks to, and how it differs from what ran there.
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
  /// Touches nothing. InputError where run.dir holds the checkpoints of another model, or of any run if
  /// checkpoint.resume is never, and where its checkpoints are lost.
  explicit RunDirectory(const Experiment& experiment);

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  /// Whether there are checkpoints to go on from.
  bool goes_on() const { return goes_on_; }
  /// What differs from what the run in this directory began with, a line each: "changed since the run began:
  /// train.steps: 200, was 100".
  const std::vector<std::string>& changes() const { return changes_; }

  /// InputError where it cannot be made or written. Touches nothing.
  void check_writable() const;
  /// Of rank 0, before create(): compares file and data with those that the run was started with. InputError
  /// where it was started from another YAML file that means the same directory by default, and where the
  /// states that it carries do not fit what comes next.
  void compare_with_origin(const ConfigSource& source, const BatchSource& data, const EvalWindows* held_out);

  /// Makes it and holds it for this process. InputError while another run writes there.
  void create();
  /// config.yaml, resolved: it trains the same when it is given to natrix train; and run.json, the record.
  void write_config() const;

 private:
  void refuse_lost_checkpoints() const;
  void compare_with_earlier();
  void compare_file(const RunOrigin& before, const ConfigSource& source, bool same_data);
  void refuse_unfit_states(const std::string& data_change) const;

  const Experiment& experiment_;
  std::string dir_;
  bool goes_on_ = false;
  std::optional<ExperimentConfig> earlier_;  // of the run in this directory, if it says
  std::vector<std::string> changes_;
  RunOrigin origin_;
  DirectoryLock lock_;
};

}  // namespace natrix
