#include "core/sequence/segment_schedule.h"

#include <algorithm>
#include <deque>
#include <limits>

#include "core/sequence/sweep_order.h"
#include "kernels/base/transfer.h"

namespace natrix {

/// Runs one micro-batch of a step in the order that SweepOrder chooses.
class SegmentSchedule::Runner final : public SegmentRunner {
 public:
  Runner(SegmentSchedule& schedule, const Sequences& rows, int64_t first_index, double scale,
         StepTally& tally, StepResult& result)
      : s_(schedule),
        ctx_(schedule.ctx_),
        rows_(rows),
        first_index_(first_index),
        scale_(scale),
        tally_(tally),
        result_(result) {}

  /// For the last micro-batch of the step. last: the segment that runs backward last.
  void tell(GradientsDone done, int64_t last) {
    done_ = std::move(done);
    last_backward_ = last;
  }

  /// Runs one segment forward without recording. kept: keeps its boundary.
  void pass_over(const SegmentRun& run, bool kept) override {
    Arena::Frame frame(ctx_.arena());
    CarryLink& states = enter(run);
    const Sequences part = s_.slice(rows_, run.segment);
    SaveStack nothing;
    if (kept) boundaries_.emplace_back();
    std::optional<RecordingLink> recording;
    if (kept) recording.emplace(states, boundaries_.back());
    CarryLink& link = kept ? static_cast<CarryLink&>(*recording) : states;
    Pass pass{ctx_, nothing, link, tally_, describe(part, run.segment), Keep::kNothing, run.visit};
    s_.model_.pass_over(pass, part.tokens);
    if (kept) note_memory();
  }

  void record(const SegmentRun& run) override {
    recorded_.emplace(ctx_.arena());
    Recorded& r = *recorded_;
    std::optional<ReplayLink> replay;
    if (run.entry == SegmentRun::Entry::kReplay) replay.emplace(boundaries_.back());
    CarryLink& link = replay ? static_cast<CarryLink&>(*replay) : enter(run);
    r.part = s_.slice(rows_, run.segment);
    Pass pass{ctx_, r.saved, link, tally_, describe(r.part, run.segment), Keep::kForBackward, run.visit};
    r.hidden = s_.model_.hidden(pass, r.part.tokens);
  }

  void backward(int64_t segment, bool first) override {
    Recorded& r = *recorded_;
    CutRoute cut;
    const bool exact = s_.options_.gradient == GradientMode::kExact;
    CarryRoute& gradients = exact ? s_.gradients_ : static_cast<CarryRoute&>(cut);
    if (first) gradients.resume(rows_.dend);
    gradients.begin_segment(/*last=*/segment == 0);
    Pass pass{ctx_, r.saved, gradients, tally_, describe(r.part, segment), Keep::kForBackward, Visit::kAgain};
    View dhidden = ctx_.arena().like(r.hidden);
    result_.loss_sum += s_.model_.head().loss_and_gradient(ctx_, r.hidden, r.part.targets, scale_, dhidden);
    s_.model_.backward(pass, dhidden, segment == last_backward_ ? done_ : GradientsDone{});
    recorded_.reset();
  }

  void drop_boundary() override { boundaries_.pop_back(); }

 private:
  struct Recorded {  // a segment whose activations are kept for backward
    explicit Recorded(Arena& arena) : frame(arena) {}
    Arena::Frame frame;  // frees the activations together with the record
    SaveStack saved;
    Sequences part;
    View hidden;
  };

  /// Moves the route of the states to the beginning of this run.
  CarryRoute& enter(const SegmentRun& run) {
    if (run.entry == SegmentRun::Entry::kStart) s_.states_.resume(rows_.start);
    if (run.entry == SegmentRun::Entry::kBoundary) s_.states_.rejoin(boundaries_.back());
    s_.states_.begin_segment(run.last);
    return s_.states_;
  }

  Segment describe(const Sequences& part, int64_t segment) const {
    return s_.describe(part, first_index_, segment);
  }

  void note_memory() {
    int64_t bytes = 0;
    for (const CarryStates& b : boundaries_) bytes += b.bytes();
    result_.boundary_bytes = std::max(result_.boundary_bytes, bytes);
  }

  SegmentSchedule& s_;
  Context& ctx_;
  const Sequences rows_;
  int64_t first_index_;  // index of its first segment within the step
  double scale_;
  StepTally& tally_;
  StepResult& result_;
  std::vector<CarryStates> boundaries_;  // held now, ascending, without the start
  std::optional<Recorded> recorded_;
  GradientsDone done_;
  int64_t last_backward_ = -1;
};

SegmentSchedule::SegmentSchedule(Model& model, Context& ctx, CarryRoute& states, CarryRoute& gradients,
                                 ScheduleOptions options)
    : model_(model), ctx_(ctx), states_(states), gradients_(gradients), options_(options) {
  require(options_.chunk > 0, "a chunk has at least one token");
}

namespace {

/// Whether any element of a u8 matrix is non-zero. In a dry run the answer is yes.
bool any_set(View v) {
  if (is_dry(v.data)) return true;
  for (int64_t r = 0; r < v.rows(); ++r) {
    const uint8_t* row = v.row<uint8_t>(r);
    if (std::any_of(row, row + v.cols(), [](uint8_t x) { return x != 0; })) return true;
  }
  return false;
}

}  // namespace

Sequences SegmentSchedule::slice(const Sequences& rows, int64_t segment) {
  const int64_t first = segment * options_.chunk, count = std::min(options_.chunk, rows.length() - first);
  const auto columns = [&](View v) {
    if (!v) return View{};
    View part = ctx_.arena().take(v.dtype, {rows.batch(), count});
    upload(ctx_, v.columns(first, count), part);
    return part;
  };
  // Kernels are faster without document starts.
  const bool starts = rows.doc_start && any_set(rows.doc_start.columns(first, count));
  return {.tokens = columns(rows.tokens),
          .targets = columns(rows.targets),
          .doc_start = starts ? columns(rows.doc_start) : View{}};
}

Segment SegmentSchedule::describe(const Sequences& part, int64_t first_index, int64_t s) const {
  return {.batch = part.batch(),
          .tokens = part.length(),
          .index = first_index + s,
          .first = s * options_.chunk,
          .doc_start = part.doc_start};
}

void SegmentSchedule::read(const Sequences& rows, const HiddenVisitor& visit, bool last) {
  for_segments(rows, last,
               [&](Pass& pass, View tokens, int64_t first) { visit(first, model_.hidden(pass, tokens)); });
}

void SegmentSchedule::pass_over(const Sequences& rows, const std::function<void(int64_t)>& progress,
                                bool last) {
  for_segments(rows, last, [&](Pass& pass, View tokens, int64_t) {
    observe_ != nullptr ? static_cast<void>(model_.hidden(pass, tokens)) : model_.pass_over(pass, tokens);
    progress(tokens.extent(1));
  });
}

void SegmentSchedule::for_segments(const Sequences& rows, bool last,
                                   const std::function<void(Pass&, View, int64_t)>& run) {
  StepTally unused;
  SaveStack nothing;
  for (int64_t s = 0; s < segments(rows); ++s) {
    Arena::Frame frame(ctx_.arena());
    const Sequences part = slice(rows, s);
    states_.begin_segment(last && s + 1 == segments(rows));
    Pass pass{ctx_, nothing, states_, unused, describe(part, 0, s)};
    pass.observe = observe_;
    run(pass, part.tokens, s * options_.chunk);
  }
}

StepOrder step_order(const ScheduleOptions& o, int64_t micro_batches, int64_t boundary_bytes) {
  const bool exact = o.gradient == GradientMode::kExact;
  const bool together = o.needs_tally && (micro_batches > 1 || !exact);
  const int64_t memory = exact ? o.boundary_memory / (together ? micro_batches : 1) : 0;
  return {.exact = exact,
          .together = together,
          .slots = boundary_bytes == 0 ? std::numeric_limits<int32_t>::max() : memory / boundary_bytes};
}

StepResult SegmentSchedule::step(std::span<const Sequences> micro_batches, double scale, StepTally& tally,
                                 const StepHooks& hooks) {
  StepResult result;
  std::deque<Runner> runners;  // a deque, because a runner holds arena frames and cannot move
  std::deque<SweepOrder> sweeps;
  StepOrder order;
  int64_t index = 0;
  for (const Sequences& rows : micro_batches) {
    order = step_order(options_, std::ssize(micro_batches), bytes_of(model_.carries(), rows.batch()));
    runners.emplace_back(*this, rows, index, scale, tally, result);
    sweeps.emplace_back(segments(rows), order.slots, runners.back());
    index += segments(rows);
  }
  const auto complete_tally = [&](StepTally& t) {
    if (hooks.complete_tally) hooks.complete_tally(t);
  };
  const auto keep_end = [&] {
    if (options_.keep_end) result.end.push_back(copy_of(states_.end_states()));
  };
  if (!runners.empty()) {
    runners.back().tell(hooks.gradients_done, order.exact ? 0 : segments(micro_batches.back()) - 1);
  }
  if (order.together) {
    for (SweepOrder& s : sweeps) {
      s.survey(/*record_last=*/false);
      keep_end();
    }
    complete_tally(tally);
  }
  for (SweepOrder& s : sweeps) {
    if (!order.exact) {
      s.truncated(order.together ? Visit::kAgain : Visit::kFirst);
      if (!order.together) keep_end();
      continue;
    }
    if (!order.together) {
      s.survey(/*record_last=*/true);
      keep_end();
      if (options_.needs_tally) complete_tally(tally);  // the only micro-batch
    }
    s.retrace();
    result.segments_recomputed += s.recomputed();
    if (options_.keep_dstart) result.dstart.push_back(copy_of(gradients_.end_states()));
  }
  if (!options_.needs_tally) complete_tally(tally);  // for the logs
  return result;
}

std::unique_ptr<SegmentRunner> SegmentSchedule::runner(const Sequences& rows, StepTally& tally,
                                                       StepResult& result) {
  return std::make_unique<Runner>(*this, rows, 0, 1.0, tally, result);
}

}  // namespace natrix
