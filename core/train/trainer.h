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
  RankGroup& group;
  /// After each update, with the step's completed tally: what layers adjust without a gradient.
  std::function<void(const StepTally&)> after_update;
};

class Trainer {
 public:
  explicit Trainer(TrainerParts parts);
  ~Trainer();

  /// Goes back to where the run's newest usable checkpoint stands,
  /// if it has any and may resume. Call once, before run().
  void resume();
  /// Trains to the last step. Returns the exit status: 0, or 75 if a signal stopped it
  /// (all saved). RunError where the loss is not finite and train.on_nan says stop.
  int run();
  /// Where the run stands.
  const RunPosition& position() const { return position_; }

 private:
  void one_step();
  void refuse_nonfinite(const Batch& batch, const StepFigures& figures, double norm);
  void record(const StepFigures& figures, double norm, double lr, double seconds);
  void evaluate_held_out();
  void save();
  bool due(int64_t every) const;

  TrainerParts p_;
  RunPosition position_;
  int64_t saved_step_ = -1;
  std::string last_checkpoint_;
  StepScorer scorer_;
  double mean_seconds_ = 0;              // of a step, for the remaining time
  std::unique_ptr<MetricsLog> metrics_;  // of rank 0
  bool resumed_ = false;
};

}  // namespace natrix
