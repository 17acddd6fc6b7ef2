#include "core/generate/session.h"

#include "core/sequence/diagnose.h"

namespace natrix {

Session::Session(Model& model, Context& ctx, int64_t batch, int64_t chunk, bool records)
    : model_(model),
      ctx_(ctx),
      batch_(batch),
      schedule_(model, ctx, route_, no_gradients_, {.chunk = chunk}),
      recorded_(model, ctx, route_, batch, records),
      logits_(Dtype::kF32, {batch, *model.config().vocab_size}) {}

void Session::feed(View tokens, const std::function<void(int64_t)>& progress) {
  require(tokens.rows() == batch_, "a session is fed one row of tokens for each of its rows");
  const int64_t count = tokens.cols();
  if (count == 0) return;
  position_ += count;
  // Runs the pending token and all of `tokens` except the last, which becomes pending.
  const int64_t held = pending_ ? 1 : 0;
  Buffer now(Dtype::kI64, {batch_, held + count - 1});
  if (held) copy(pending_.view(), now.view().columns(0, 1));
  copy(tokens.columns(0, count - 1), now.view().columns(held, count - 1));
  if (!pending_) pending_ = Buffer(Dtype::kI64, {batch_, 1});
  copy(tokens.columns(count - 1, 1), pending_.view());
  if (now.view().cols() == 0) return;
  if (watch_ != nullptr) watch_->at(0, position_ - 1 - now.view().cols());
  schedule_.pass_over({.tokens = now.view()}, progress);
}

View Session::logits() {
  require(static_cast<bool>(pending_), "logits were asked for before any token was fed");
  if (watch_ != nullptr) watch_->at(0, position_ - 1);
  if (recorded_.ready()) {
    convert(recorded_.run(pending_.view()), logits_.view());
  } else {
    schedule_.read({.tokens = pending_.view()}, [&](int64_t, View hidden) {
      convert(model_.head().logits(ctx_, hidden), logits_.view());
    });
    recorded_.note_unrecorded();
  }
  pending_ = Buffer();
  return logits_.view();
}

void Session::watch(NonfiniteWatch& watch) {
  watch_ = &watch;
  schedule_.observe(&watch.observer());
}

void Session::restore(const CarryStates& states, View pending, int64_t position) {
  const CarryStates there = copy_of(states, ctx_.memory());
  route_.resume(&there);
  recorded_.forget();
  position_ = position;
  pending_ = Buffer();
  if (pending) {
    pending_ = Buffer(Dtype::kI64, {batch_, 1});
    copy(pending, pending_.view());
  }
}

}  // namespace natrix
