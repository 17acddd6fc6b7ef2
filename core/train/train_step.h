// TrainStep: loss and gradients of one optimizer step, divided into micro-batches, segments and ranks.
#pragma once

#include <memory>

#include "core/ranks/ranks.h"
#include "core/sequence/segment_schedule.h"
#include "core/text/batches.h"

namespace natrix {

/// The results of one step. Means are over the whole step. Auxiliary losses are without their coefficients.
struct StepFigures {
  double loss = 0;  // mean next-token cross-entropy, nats
  int64_t predictions = 0;
  int64_t tokens = 0;
  double aux_loss = 0, z_loss = 0;               // summed over MoE layers
  std::vector<std::vector<double>> expert_load;  // [MoE layer][expert], shares
  double loss_here = 0;                          // mean over this rank's predictions
  int64_t predictions_here = 0;                  // may be 0
  int64_t dropped = 0;                           // choices beyond an expert's capacity
  int64_t boundary_bytes = 0;
};

class TrainStep {
 public:
  /// All references are borrowed. Without `ranks` the run is a single process. If train.micro_batch_size is
  /// auto, all rows form one micro-batch: callers choose the number before.
  TrainStep(Model& model, Context& ctx, const ExperimentConfig& config, const Ranks& ranks);
  TrainStep(Model& model, Context& ctx, const ExperimentConfig& config);

  /// Zeroes the gradients, then computes them. batch: this rank's part of the step's batch (RankShare::take).
  /// Figures and gradients cover all ranks and are the same on each; if ranks shard updates, a rank has the
  /// gradients that it owns. If the batch continues the previous one and the configuration carries states,
  /// rows start from the states at the end of the previous call.
  StepFigures compute(const Batch& batch);

  const StepTally& tally() const { return tally_; }
  int64_t micro_batch_size() const { return micro_batch_; }
  int64_t batch_size() const { return rows_ * ranks_.share.dp; }  // of all ranks

  /// Gathers the states that the last step carries into the next, on rank 0: all rows in order. Collective.
  CarryStates carried_rows();
  /// Continues from states of all rows; each rank takes those of its rows. If `all` is empty, the next step
  /// starts from zero.
  void carry_rows(const CarryStates& all);

  /// The micro-batches of the last compute(), with the states that they started from, to run them again for
  /// diagnosis. `batch` must be the same.
  std::vector<Sequences> micro_batches(const Batch& batch) const { return cut(batch, before_); }
  /// Discards the last step: the next one starts from the states before it.
  void leave_out() { carried_ = std::move(before_); }

 private:
  TrainStep(Model& model, Context& ctx, const ExperimentConfig& config, std::unique_ptr<OneProcess> alone);
  std::vector<Sequences> cut(const Batch& batch, const std::vector<CarryStates>& starts) const;

  Model& model_;
  Context& ctx_;
  bool carry_state_;
  int64_t rows_, micro_batch_;  // of this rank
  std::unique_ptr<OneProcess> alone_;
  Ranks ranks_;
  SegmentSchedule schedule_;
  StepTally tally_;
  std::vector<CarryStates> carried_,
      before_;  // after and before the last step; one per micro-batch, on the first rank of cp
};

}  // namespace natrix
