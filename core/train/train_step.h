// TrainStep: loss and gradients of one optimizer step, cut into micro-batches and segments, and over ranks.
#pragma once

#include <memory>

#include "core/sequence/segment_schedule.h"
#include "core/text/batches.h"
#include "core/train/rank_group.h"

namespace natrix {

/// What one step computed. Means are over the whole step; auxiliary figures carry no coefficient.
struct StepFigures {
  double loss = 0;  // mean next-token cross-entropy, nats
  int64_t predictions = 0;
  int64_t tokens = 0;
  double aux_loss = 0, z_loss = 0;               // summed over MoE layers
  std::vector<std::vector<double>> expert_load;  // [MoE layer][expert], shares
  double loss_here = 0;                          // mean of this rank's predictions,
  int64_t predictions_here = 0;                  // which may be none
  int64_t dropped = 0;                           // slots beyond capacity
  int64_t boundary_bytes = 0;
};

class TrainStep {
 public:
  /// All borrowed; without a group, this process is alone. train.micro_batch_size: auto has become a number,
  /// or all rows are one micro-batch.
  TrainStep(Model& model, Context& ctx, const ExperimentConfig& config, RankGroup& group);
  TrainStep(Model& model, Context& ctx, const ExperimentConfig& config);

  /// batch: this rank's part of the step's (RankShare::take). Figures and gradients are those of all ranks
  /// together, the same on each (of gradients, where ranks
  /// share updates, those that it owns). Zeroes the gradients, then computes them. Where the batch continues
  /// the one before and the configuration carries states, rows start from the states that the last call ended
  /// with.
  StepFigures compute(const Batch& batch);

  const StepTally& tally() const { return tally_; }
  int64_t micro_batch_size() const { return micro_batch_; }
  int64_t batch_size() const { return rows_ * group_.share().dp; }  // of all ranks

  /// The states that the last step carries into the next, of all rows in order, on rank 0. Collective.
  CarryStates carried_rows();
  /// Goes on from states of all rows; each rank takes its own. None: the next step starts from zero.
  void carry_rows(const CarryStates& all);

  /// The batch that compute() ran last, as micro-batches, from the states that they started from: for whoever
  /// runs it again (diagnosis).
  std::vector<Sequences> micro_batches(const Batch& batch) const { return cut(batch, before_); }
  /// The last step counts for nothing: the next one goes on from the states before it.
  void leave_out() { carried_ = std::move(before_); }

 private:
  TrainStep(Model& model, Context& ctx, const ExperimentConfig& config, std::unique_ptr<OneProcess> alone);
  std::vector<Sequences> cut(const Batch& batch, const std::vector<CarryStates>& starts) const;

  Model& model_;
  Context& ctx_;
  bool carry_state_;
  int64_t rows_, micro_batch_;  // of this rank
  std::unique_ptr<OneProcess> alone_;
  RankGroup& group_;
  SegmentSchedule schedule_;
  StepTally tally_;
  std::vector<CarryStates> carried_,
      before_;  // after the last step, and before it; of each micro-batch, on the first rank of cp
};

}  // namespace natrix
