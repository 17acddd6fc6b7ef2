// SegmentSchedule: owns every loop over the segments of a sequence.
//
// It computes exact gradients of a sequence of any length in memory that does not grow with the length:
//
//   sweep 1, forward in time     runs every segment, keeps only boundaries, and fills the tally
//   between the sweeps           completes the tally: sums over all micro-batches and ranks of the step
//   sweep 2, backwards in time   for each segment: restores its boundary, runs it again while recording
//                                activations, computes its loss, and runs it backward from the state gradient
//                                of the segment after it
//
// Sweep 1 records the last segment where it can. A step of one segment therefore recomputes nothing and needs
// no special case. If `boundary_memory` does not hold all boundaries, a binomial schedule chooses those to
// keep (revolve.h).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "configs/schema/experiment.h"
#include "core/carry/carry_route.h"
#include "core/layers/model.h"
#include "core/sequence/sweep_order.h"

namespace natrix {

/// Rows of equal length: sequences of an optimizer step, or a text to read. They are in host memory; the
/// schedule copies each segment to the device if the model runs there.
struct Sequences {
  View tokens;                         // [B, T] i64
  View targets;                        // [B, T] i64; kIgnoreTarget: no target. Needed for gradients only
  View doc_start;                      // [B, T] u8; may be empty
  const CarryStates* start = nullptr;  // states at the first token; null: zero
  /// Gradient, of what else depends on the states after the last token, with respect to them; null: zero. Like
  /// `start` it lies in the memory of the context. Only exact gradients read it.
  const CarryStates* dend = nullptr;

  int64_t batch() const { return tokens.extent(0); }
  int64_t length() const { return tokens.extent(1); }
};

struct ScheduleOptions {
  int64_t chunk = 512;
  GradientMode gradient = GradientMode::kExact;
  int64_t boundary_memory = int64_t{1} << 30;
  /// Whether the gradient needs the complete tally of the step (a load-balancing loss). If so, sweep 1 of all
  /// micro-batches ends before any sweep 2 begins.
  bool needs_tally = false;
  /// Whether StepResult::end is wanted.
  bool keep_end = true;
  /// Whether StepResult::dstart is wanted.
  bool keep_dstart = false;
};

/// How the sweeps of a step follow from its options.
struct StepOrder {
  bool exact = true;      // two sweeps; else one, truncated
  bool together = false;  // sweep 1 of all micro-batches comes before any sweep 2
  int64_t slots = 0;      // boundaries of a micro-batch that fit into memory, besides the start
};
StepOrder step_order(const ScheduleOptions& options, int64_t micro_batches, int64_t boundary_bytes);

struct StepResult {
  double loss_sum = 0;              // sum of the cross-entropies, in nats
  int64_t boundary_bytes = 0;       // high-water mark of one micro-batch's boundaries
  int64_t segments_recomputed = 0;  // forward runs beyond the first of each segment
  std::vector<CarryStates> end;     // per micro-batch, its CarryRoute::end_states()
  /// Per micro-batch, the gradient with respect to the states at its first token. With exact gradients only.
  std::vector<CarryStates> dstart;
};

/// Callbacks of a step. Either may be empty.
struct StepHooks {
  /// Called once per step, before the tally is read: ranks add up their tallies here.
  std::function<void(StepTally&)> complete_tally = {};
  /// Called during the last backward of the step, whenever more gradients are complete.
  GradientsDone gradients_done = {};
};

class SegmentSchedule {
 public:
  /// All references are borrowed. states, gradients: the routes of carried states and of their gradients.
  SegmentSchedule(Model& model, Context& ctx, CarryRoute& states, CarryRoute& gradients,
                  ScheduleOptions options);

  /// Runs the model over `rows` without backward, from the current states of the states' route. After each
  /// segment it calls visit(index of its first token, hidden [B, t, D]). Afterwards the route holds the end
  /// states. last: no more tokens of these rows follow.
  using HiddenVisitor = std::function<void(int64_t first, View hidden)>;
  void read(const Sequences& rows, const HiddenVisitor& visit, bool last = true);
  /// Like read(), but only for the end states: skips what would only compute hidden states
  /// (Model::pass_over). Calls progress(tokens of a row) after each segment.
  void pass_over(const Sequences& rows, const std::function<void(int64_t)>& progress, bool last = true);
  /// From now on read() and pass_over() show every sublayer's output to `observer`, for diagnosis. Null
  /// stops this. Borrowed.
  void observe(const PassObserver* observer) { observe_ = observer; }

  /// Computes loss and gradients of a whole optimizer step. Adds the gradient of scale · loss_sum to the
  /// parameters' gradients. For the mean loss, scale = 1 / (predictions in the step). Call
  /// tally.begin_step() before.
  StepResult step(std::span<const Sequences> micro_batches, double scale, StepTally& tally,
                  const StepHooks& hooks = {});

  /// The runs of one micro-batch, one by one, for the planner, which decides itself which there are. All
  /// borrowed.
  std::unique_ptr<SegmentRunner> runner(const Sequences& rows, StepTally& tally, StepResult& result);

 private:
  class Runner;

  /// Calls run(pass, tokens, index of its first token) for each segment of `rows`.
  void for_segments(const Sequences& rows, bool last,
                    const std::function<void(Pass&, View tokens, int64_t first)>& run);
  int64_t segments(const Sequences& rows) const {
    return (rows.length() + options_.chunk - 1) / options_.chunk;
  }
  Sequences slice(const Sequences& rows, int64_t segment);
  /// Segment `s` of rows whose first segment has the index `first_index` within the step.
  Segment describe(const Sequences& part, int64_t first_index, int64_t s) const;

  Model& model_;
  Context& ctx_;
  CarryRoute& states_;
  CarryRoute& gradients_;
  ScheduleOptions options_;
  const PassObserver* observe_ = nullptr;
};

}  // namespace natrix
