// RunDirectory: whether an experiment may be run where it asks to, and how it differs from what ran there.
#pragma once

#include <string>
#include <vector>

#include "core/io/directory_lock.h"
#include "launch/experiment.h"

namespace natrix {

class RunDirectory {
 public:
  /// Touches nothing. InputError where run.dir holds the checkpoints of another model, or of any run if
  /// checkpoint.resume is never.
  explicit RunDirectory(const Experiment& experiment);

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  /// Keys that differ from those that the run in this directory began with: "train.steps: 200, was 100".
  const std::vector<std::string>& changes() const { return changes_; }

  /// InputError where it cannot be made or written. Touches nothing.
  void check_writable() const;
  /// Makes it and holds it for this process. InputError while another run writes there.
  void create();
  /// config.yaml, resolved: it trains the same when it is given to natrix train.
  void write_config() const;

 private:
  void compare_with_earlier();

  const Experiment& experiment_;
  std::string dir_;
  std::vector<std::string> changes_;
  DirectoryLock lock_;
};

}  // namespace natrix
