#include "core/sequence/segment_schedule.h"

#include <algorithm>
#include <deque>
#include <limits>

#include "core/sequence/revolve.h"
#include "kernels/base/transfer.h"

namespace natrix {

struct SegmentSchedule::Recorded {
  Recorded(Arena& arena, int64_t segment_) : frame(arena), segment(segment_) {}

  Arena::Frame frame;  // frees the activations together with the record
  int64_t segment;
  SaveStack saved;
  Sequences part;
  View hidden;
};

struct SegmentSchedule::Sweep {
  Sweep(const Sequences& rows_, int64_t segments_, int64_t first_index_, StepResult& result_)
      : rows(rows_), segments(segments_), first_index(first_index_), result(result_) {}

  const Sequences& rows;
  int64_t segments;
  int64_t first_index;               // index of its first segment within the step
  int64_t slots = 0;                 // boundaries that fit into memory, besides the start
  std::vector<int64_t> keep;         // boundaries that the current forward run keeps, ascending
  std::vector<Boundary> boundaries;  // held now, ascending, without the start
  std::optional<Recorded> recorded;
  int64_t last_backward = 0;     // the segment that runs backward last
  GradientsDone gradients_done;  // set only in the last sweep of the step
  StepResult& result;

  void note_memory() {
    int64_t bytes = 0;
    for (const Boundary& b : boundaries) bytes += b.states.bytes();
    result.boundary_bytes = std::max(result.boundary_bytes, bytes);
  }
};

SegmentSchedule::SegmentSchedule(Model& model, Context& ctx, CarryRoute& states, CarryRoute& gradients,
                                 ScheduleOptions options)
    : model_(model), ctx_(ctx), states_(states), gradients_(gradients), options_(options) {
  require(options_.chunk > 0, "a chunk has at least one token");
}

namespace {

/// Whether any element of a u8 matrix is non-zero.
bool any_set(View v) {
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

StepResult SegmentSchedule::step(std::span<const Sequences> micro_batches, double scale, StepTally& tally,
                                 const StepHooks& hooks) {
  StepResult result;
  std::deque<Sweep> sweeps;  // a deque, because a sweep holds arena frames and cannot move
  int64_t index = 0;
  for (const Sequences& rows : micro_batches) {
    sweeps.emplace_back(rows, segments(rows), index, result);
    index += sweeps.back().segments;
  }
  const bool exact = options_.gradient == GradientMode::kExact;
  const auto complete_tally = [&](StepTally& t) {
    if (hooks.complete_tally) hooks.complete_tally(t);
  };
  if (!sweeps.empty()) sweeps.back().gradients_done = hooks.gradients_done;
  const bool together = options_.needs_tally && (sweeps.size() > 1 || !exact);
  const int64_t memory = options_.boundary_memory / (together ? static_cast<int64_t>(sweeps.size()) : 1);
  if (together) {
    for (Sweep& s : sweeps) survey(s, tally, false, exact ? memory : 0);
    complete_tally(tally);
  }
  for (Sweep& s : sweeps) {
    const Visit visit = together ? Visit::kAgain : Visit::kFirst;
    if (exact) {
      if (!together) survey(s, tally, true, memory);
      if (!together && options_.needs_tally) complete_tally(tally);  // the only micro-batch
      retrace(s, tally, scale);
    } else {
      truncated(s, tally, scale, visit);
    }
  }
  if (!options_.needs_tally) complete_tally(tally);  // for the logs
  return result;
}

/// Sweep 1. Keeps boundaries for sweep 2 and, if asked, records the last segment.
void SegmentSchedule::survey(Sweep& w, StepTally& tally, bool record_last, int64_t memory) {
  const int64_t boundary = bytes_of(model_.carries(), w.rows.batch());
  w.slots = boundary == 0 ? std::numeric_limits<int32_t>::max() : memory / boundary;
  states_.resume(w.rows.start);
  for (int64_t s = 0; s < w.segments; ++s) {
    const bool last = s == w.segments - 1;
    if (s == 1) keep_boundaries(w, 0, record_last ? w.segments - 1 : w.segments);
    if (record_last && last) {
      states_.begin_segment(last);
      record(w, tally, s, states_, Visit::kFirst);
    } else {
      pass_over(w, tally, s, last, Visit::kFirst);
    }
  }
  if (options_.keep_end) w.result.end.push_back(copy_of(states_.end_states()));
}

/// Sweep 2: from the last segment to the first.
void SegmentSchedule::retrace(Sweep& w, StepTally& tally, double scale) {
  gradients_.resume(nullptr);
  w.last_backward = 0;
  int64_t last = w.segments;
  if (w.recorded) {
    backward_recorded(w, tally, scale, gradients_);
    --last;
  }
  for (int64_t s = last - 1; s >= 0; --s) {
    if (!w.boundaries.empty() && w.boundaries.back().segment == s) {
      ReplayLink replay(w.boundaries.back().states);
      record(w, tally, s, replay, Visit::kAgain);
      backward_recorded(w, tally, scale, gradients_);
      w.boundaries.pop_back();
    } else {
      advance(w, tally, s);
      states_.begin_segment(/*last=*/true);
      record(w, tally, s, states_, Visit::kAgain);
      backward_recorded(w, tally, scale, gradients_);
    }
    ++w.result.segments_recomputed;
  }
}

/// Runs forward from the nearest held boundary to boundary `last`. Keeps the boundaries on the way that fit.
void SegmentSchedule::advance(Sweep& w, StepTally& tally, int64_t last) {
  const int64_t from = w.boundaries.empty() ? 0 : w.boundaries.back().segment;
  if (w.boundaries.empty()) {
    states_.resume(w.rows.start);
  } else {
    states_.rejoin(w.boundaries.back().states);
  }
  keep_boundaries(w, from, last + 1);
  for (int64_t s = from; s < last; ++s) {
    pass_over(w, tally, s, /*last=*/false, Visit::kAgain);
    ++w.result.segments_recomputed;
  }
}

void SegmentSchedule::keep_boundaries(Sweep& w, int64_t first, int64_t last) {
  w.keep = boundaries_to_keep(first, last, w.slots - static_cast<int64_t>(w.boundaries.size()));
}

/// Truncated BPTT: runs each segment forward and at once backward. No gradient crosses a boundary.
void SegmentSchedule::truncated(Sweep& w, StepTally& tally, double scale, Visit visit) {
  CutRoute cut;
  w.last_backward = w.segments - 1;
  states_.resume(w.rows.start);
  for (int64_t s = 0; s < w.segments; ++s) {
    states_.begin_segment(s == w.segments - 1);
    record(w, tally, s, states_, visit);
    backward_recorded(w, tally, scale, cut);
  }
  if (options_.keep_end && visit == Visit::kFirst) w.result.end.push_back(copy_of(states_.end_states()));
}

/// Runs one segment forward without recording. Keeps its boundary if w.keep says so.
void SegmentSchedule::pass_over(Sweep& w, StepTally& tally, int64_t s, bool last, Visit visit) {
  Arena::Frame frame(ctx_.arena());
  states_.begin_segment(last);
  const Sequences part = slice(w.rows, s);
  SaveStack nothing;
  const bool kept = std::binary_search(w.keep.begin(), w.keep.end(), s);
  if (kept) w.boundaries.push_back({.segment = s, .states = {}});
  std::optional<RecordingLink> recording;
  if (kept) recording.emplace(states_, w.boundaries.back().states);
  CarryLink& link = kept ? static_cast<CarryLink&>(*recording) : states_;
  Pass pass{ctx_, nothing, link, tally, describe(part, w.first_index, s), Keep::kNothing, visit};
  model_.pass_over(pass, part.tokens);
  if (kept) w.note_memory();
}

void SegmentSchedule::record(Sweep& w, StepTally& tally, int64_t s, CarryLink& link, Visit visit) {
  w.recorded.emplace(ctx_.arena(), s);
  Recorded& r = *w.recorded;
  r.part = slice(w.rows, s);
  Pass pass{ctx_, r.saved, link, tally, describe(r.part, w.first_index, s), Keep::kForBackward, visit};
  r.hidden = model_.hidden(pass, r.part.tokens);
}

void SegmentSchedule::backward_recorded(Sweep& w, StepTally& tally, double scale, CarryRoute& gradients) {
  Recorded& r = *w.recorded;
  gradients.begin_segment(/*last=*/r.segment == 0);
  Pass pass{
      ctx_,         r.saved, gradients, tally, describe(r.part, w.first_index, r.segment), Keep::kForBackward,
      Visit::kAgain};
  View dhidden = ctx_.arena().like(r.hidden);
  w.result.loss_sum += model_.head().loss_and_gradient(ctx_, r.hidden, r.part.targets, scale, dhidden);
  model_.backward(pass, dhidden, r.segment == w.last_backward ? w.gradients_done : GradientsDone{});
  w.recorded.reset();
}

}  // namespace natrix
