// SegmentSchedule: the one owner of every loop over the segments of a sequence.
//
// Exact gradients of a sequence of any length in memory that does not grow with it:
//
//   sweep 1, forward in time     run every segment, keep only boundary states; the tally fills
//   (the tally is completed: expert counts of the whole step, over chunks, micro-batches and ranks)
//   sweep 2, backwards in time   restore a boundary, run the segment again keeping activations, take its
//   loss, and run
//                                it backward, seeded with the state gradient of the segment after it
//
// The last segment records during sweep 1 where it can, so the monolithic step (one segment) pays no
// recomputation and is no special case. Boundaries beyond `boundary_memory` are thinned by a binomial
// schedule (revolve.h).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "configs/experiment.h"
#include "core/layers/model.h"
#include "core/sequence/carry_route.h"
#include "core/sequence/sweep_order.h"

namespace natrix {

/// Rows of equal length: some of an optimizer step's sequences, or a text to read. In the host's memory; the
/// schedule takes each segment's share to where the kernels are.
struct Sequences {
  View tokens;                         // [B, T] i64
  View targets;                        // [B, T] i64, kIgnoreTarget where there is none; needed for gradients
  View doc_start;                      // [B, T] u8, or empty
  const CarryStates* start = nullptr;  // states at the first token; null: zero

  int64_t batch() const { return tokens.extent(0); }
  int64_t length() const { return tokens.extent(1); }
};

struct ScheduleOptions {
  int64_t chunk = 512;
  GradientMode gradient = GradientMode::kExact;
  int64_t boundary_memory = int64_t{1} << 30;
  /// The gradient needs the completed tally of the step (a load-balancing loss): sweep 1 of all micro-batches
  /// must end before any sweep 2 begins.
  bool needs_tally = false;
  /// Whether StepResult::end is wanted.
  bool keep_end = true;
};

/// How the sweeps of a step follow from its options.
struct StepOrder {
  bool exact = true;      // two sweeps; else one, truncated
  bool together = false;  // sweep 1 of all micro-batches comes before any sweep 2
  int64_t slots = 0;      // boundaries of a micro-batch that fit into memory, besides the start
};
StepOrder step_order(const ScheduleOptions& options, int64_t micro_batches, int64_t boundary_bytes);

struct StepResult {
  double loss_sum = 0;              // Σ of the cross-entropies, in nats
  int64_t boundary_bytes = 0;       // most boundary states held at once
  int64_t segments_recomputed = 0;  // forward runs beyond the first
  std::vector<CarryStates> end;     // of each micro-batch, after its last token; CarryRoute::end_states
};

/// What a step tells others on its way. Both may be empty.
struct StepHooks {
  /// Called once between the sweeps: ranks add their counts there.
  std::function<void(StepTally&)> complete_tally = {};
  /// Called during the last backward run of the step, when some gradients have had their last contribution.
  GradientsDone gradients_done = {};
};

class SegmentSchedule {
 public:
  /// Borrowed. states and gradients: where carries come from and go to, in either direction of time.
  SegmentSchedule(Model& model, Context& ctx, CarryRoute& states, CarryRoute& gradients,
                  ScheduleOptions options);

  /// Runs the model over `rows`, from where the states' route stands, without keeping anything for backward.
  /// After each segment calls visit(first token's index, hidden [B, t, D]); the states' route holds the end
  /// state afterwards. last: no more rows of this sequence follow.
  using HiddenVisitor = std::function<void(int64_t first, View hidden)>;
  void read(const Sequences& rows, const HiddenVisitor& visit, bool last = true);
  /// read() for the end state alone, which leaves out what would only make the hidden states
  /// (Model::pass_over). progress(tokens of a row) after each segment.
  void pass_over(const Sequences& rows, const std::function<void(int64_t)>& progress, bool last = true);

  /// Loss and gradients of a whole optimizer step. `scale` multiplies the loss whose gradient is added to the
  /// parameters': 1 / (number of predictions in the step). The tally must have begun the step.
  StepResult step(std::span<const Sequences> micro_batches, double scale, StepTally& tally,
                  const StepHooks& hooks = {});

  /// The runs of one micro-batch, one by one, for the planner, which decides itself which there are. All
  /// borrowed.
  std::unique_ptr<SegmentRunner> runner(const Sequences& rows, StepTally& tally, StepResult& result);

 private:
  class Runner;

  /// Calls run(pass, tokens, first token's index) for each segment of `rows`.
  void for_segments(const Sequences& rows, bool last,
                    const std::function<void(Pass&, View tokens, int64_t first)>& run);
  int64_t segments(const Sequences& rows) const {
    return (rows.length() + options_.chunk - 1) / options_.chunk;
  }
  Sequences slice(const Sequences& rows, int64_t segment);
  Segment describe(const Sequences& part, int64_t index) const;

  Model& model_;
  Context& ctx_;
  CarryRoute& states_;
  CarryRoute& gradients_;
  ScheduleOptions options_;
};

}  // namespace natrix
