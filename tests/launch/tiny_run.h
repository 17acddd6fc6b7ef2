// A text and an experiment so small that a step takes a millisecond or two, and what a run of it leaves
// behind.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <sys/types.h>
#include <vector>

#include "tests/launch/program.h"

namespace natrix::test {

/// English enough that a small model learns something, and the same every time; `seed` varies it.
std::string some_text(int64_t bytes, uint64_t seed = 1);

/// A directory with text.txt and train.yaml.
class TinyRun {
 public:
  TinyRun();

  std::string operator/(const std::string& name) const { return scratch_ / name; }
  std::string config() const { return scratch_ / "train.yaml"; }
  /// natrix train train.yaml run.dir=<name> OVERRIDES…
  Outcome train(const std::string& name, const std::vector<std::string>& overrides = {},
                const ProgramOptions& options = {}) const;

 private:
  ScratchDir scratch_;
};

/// The directory of a run that has learned some words, so that what it writes is not all alike. Made once.
const std::string& trained_run();

/// Runs natrix with --json and --quiet; the one object it printed. Fails the test for anything else on stdout
/// or stderr.
nlohmann::json natrix_json(std::vector<std::string> args, const ProgramOptions& options = {});

/// The lines of a run's metrics.jsonl without what a clock or the memory decides.
std::vector<std::string> curve(const std::string& run);
/// Lines in a run's metrics.jsonl so far; 0 without one.
int64_t lines_logged(const std::string& run);
int64_t last_step_logged(const std::string& run);   // 0 without a line
int64_t newest_checkpoint(const std::string& run);  // its step; −1 without one
/// The processes of a run's ranks under mpirun, by rank; those that have ended, or not yet begun, are −1.
std::vector<pid_t> processes_of(const std::string& run, int ranks);
/// Everything below a directory, a line each: its path, and a file's size and a hash of its content. Sorted.
std::vector<std::string> snapshot(const std::string& directory);
/// Names in RUN/checkpoints, sorted.
std::vector<std::string> checkpoints(const std::string& run);
std::string weights(const std::string& run, int64_t step);  // the bytes of a checkpoint's model.safetensors

}  // namespace natrix::test
