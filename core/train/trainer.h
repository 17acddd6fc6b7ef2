// Trainer: the loop over optimizer steps, with its logs, evaluations, checkpoints and ways to stop.
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

/// What a run works on; all borrowed.
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
  RunLog& rank_log;  // of this rank's part
  Ranks ranks;
};

class Trainer {
 public:
  explicit Trainer(TrainerParts parts);
  ~Trainer();

  /// Goes back to where the run's newest usable checkpoint stands,
  /// if it has any and may resume. Call once, before run().
  void resume();
  /// Trains to the last step. Returns the exit status: 0, or
  /// 75 if a signal stopped it (all saved). RunError where the loss is not finite and train.on_nan says stop,
  /// or as many steps as train.max_skipped were left out in a row; instead of a checkpoint whose weights
  /// would not be finite; and, after all is saved, where a rank can no longer read the data. The checkpoints
  /// from before stay.
  int run();
  /// Where the run stands.
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
  int64_t skipped_ = 0;  // steps in a row, up to the last one
  std::string last_checkpoint_;
  StepScorer scorer_;
  Batch next_;                           // of the step that comes next
  double read_seconds_ = 0;              // that it took to read
  std::string unreadable_;               // why this rank could not read it, in words; else empty
  double mean_seconds_ = 0;              // of a step, for the remaining time
  std::unique_ptr<MetricsLog> metrics_;  // of rank 0
  bool resumed_ = false;
};

}  // namespace natrix
