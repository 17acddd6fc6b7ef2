// Trainer: the loop over optimizer steps, with logs, evaluations, checkpoints and stop conditions.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/report/log_line.h"
#include "core/report/metrics.h"
#include "core/text/batches.h"
#include "core/train/run_checkpoint.h"
#include "core/train/run_log.h"

namespace natrix {

class StopSignal;

/// The parts of a run. All are borrowed.
struct TrainerParts {
  const ExperimentConfig& config;
  Model& model;
  Context& ctx;
  const BatchSource& data;
  const EvalWindows* held_out = nullptr;  // optional
  TrainStep& step;
  Optimizer& optimizer;
  RunCheckpoint& checkpoint;
  RunLog& log;
  RunLog& rank_log;  // lines about this rank
  Ranks ranks;
};

class Trainer {
 public:
  explicit Trainer(TrainerParts parts);
  ~Trainer();

  /// Restores the newest usable checkpoint of the run, if there is one and the run may resume. Call it
  /// once, before run().
  void resume();
  /// Trains to the last step. Returns the exit status: 0, or 75 if a signal stopped the run after a save.
  /// Throws RunError, and keeps earlier checkpoints, if
  ///   - the loss is not finite and train.on_nan is stop,
  ///   - train.max_skipped steps in a row were skipped,
  ///   - a checkpoint would have weights that are not finite,
  ///   - a rank can no longer read the data; the run is saved first.
  int run();
  /// The current step of the run.
  const RunPosition& position() const { return position_; }

 private:
  int train(const StopSignal& stop);
  void one_step();
  void try_to_read(const std::function<void()>& read);
  int agree(int signal);
  void refuse_nonfinite(const Batch& batch, const StepFigures& figures, double norm);
  void record(const StepFigures& figures, double norm, double lr, double seconds);
  void evaluate_held_out();
  void save();
  void refuse_nonfinite_weights();
  std::string what_stays() const;
  bool due(int64_t every) const;

  TrainerParts p_;
  RunPosition position_;
  int64_t saved_step_ = -1;
  int64_t skipped_ = 0;  // the latest steps in a row that were skipped
  std::string last_checkpoint_;
  StepScorer scorer_;
  Batch next_;                           // prefetched batch of the next step
  double read_seconds_ = 0;              // time that reading next_ took
  std::string unreadable_;               // why this rank could not read next_; else empty
  double mean_seconds_ = 0;              // mean time of a step, to estimate the remaining time
  std::unique_ptr<MetricsLog> metrics_;  // on rank 0 only
  bool resumed_ = false;
};

}  // namespace natrix
