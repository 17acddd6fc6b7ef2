#include "core/generate/recorded_step.h"

#include <algorithm>

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

/// An address that tells one block of states from the other; null for a model without states.
const void* address_of(const CarryStates& states) {
  return states.empty() ? nullptr : states.entries().begin()->second.view().data;
}

}  // namespace

RecordedStep::RecordedStep(const Model& model, Context& ctx, LocalRoute& route, int64_t batch, bool wanted)
    : model_(model),
      ctx_(ctx),
      route_(route),
      batch_(batch),
      possible_(wanted && Recording::possible(ctx) && model.runs_ahead(batch)) {
  if (possible_) tokens_ = Buffer(Dtype::kI64, {batch, 1}, ctx.memory());
}

bool RecordedStep::ready() {
  if (ctx_.arena().generation() != arena_generation_) {  // captured addresses may be invalid
    forget();
    arena_generation_ = ctx_.arena().generation();
  }
  return possible_ && unrecorded_ >= 2 && ctx_.arena().used() == 0;
}

void RecordedStep::note_unrecorded() {
  if (ctx_.arena().generation() == arena_generation_) ++unrecorded_;
}

void RecordedStep::forget() {
  unrecorded_ = 0;
  recorded_.clear();
}

View RecordedStep::run(View tokens) {
  upload(ctx_, tokens, tokens_.view());
  route_.begin_segment(/*last=*/true);
  const Recorded& step = recorded_here();
  step.work.run(ctx_);
  return step.logits;
}

const RecordedStep::Recorded& RecordedStep::recorded_here() {
  const void* from = address_of(route_.entering());
  const auto found = std::ranges::find(recorded_, from, &Recorded::from);
  if (found != recorded_.end()) return *found;
  View logits;
  const Recording work(ctx_, [&] { logits = compute(); });
  recorded_.push_back({from, work, logits});
  return recorded_.back();
}

/// Like SegmentSchedule::read for a segment of one token, from tokens at a fixed address. Layers write their
/// states directly into the route's memory (CarryLink::room), so handing them on copies nothing. A copy would
/// run at once, which a device refuses during a capture.
View RecordedStep::compute() const {
  Arena::Frame frame(ctx_.arena());
  StepTally unused;
  SaveStack nothing;
  Pass pass{ctx_, nothing, route_, unused, {.batch = batch_, .tokens = 1}};
  return model_.head().logits(ctx_, model_.hidden(pass, tokens_.view()));
}

}  // namespace natrix
