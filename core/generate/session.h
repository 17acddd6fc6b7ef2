// Session: a model reading and writing one stream of tokens a row,
// in memory that does not depend on its length.
//
// The same layers prefill in chunks of any size and decode token by token. The last token given is held back
// until its logits are asked for: a saved session is (states before that token, that token), so reading and
// then resuming is the same computation as never having stopped.
#pragma once

#include <functional>

#include "core/generate/recorded_step.h"
#include "core/sequence/segment_schedule.h"

namespace natrix {

class NonfiniteWatch;

class Session {
 public:
  /// Borrowed. chunk: tokens a row that are in memory at once during prefill. records: where it can, it asks
  /// for a whole token's work at once (recorded_step.h), with the same bits.
  Session(Model& model, Context& ctx, int64_t batch, int64_t chunk, bool records = true);

  /// Appends tokens [B, T] i64 to each row; progress(tokens read) after each chunk.
  void feed(
      View tokens, const std::function<void(int64_t)>& progress = [](int64_t) {});
  /// Logits of the next token, f32 [B, V]; valid until the next call. Something must have been fed.
  View logits();

  const Model& model() const { return model_; }
  int64_t batch() const { return batch_; }
  /// Diagnosis: what is read from now on is shown to it. Borrowed; the session must not record.
  void watch(NonfiniteWatch& watch);

  /// Tokens of a row that were fed, the pending one included.
  int64_t position() const { return position_; }
  const CarryStates& states() const { return route_.carried(); }
  View pending() const { return pending_ ? pending_.view() : View{}; }  // [B, 1] i64, or empty
  /// Goes on from a saved session, whatever memory its states lie in. pending: [B, 1], or empty.
  void restore(const CarryStates& states, View pending, int64_t position);

 private:
  Model& model_;
  Context& ctx_;
  int64_t batch_;
  LocalRoute route_;
  CutRoute no_gradients_;
  SegmentSchedule schedule_;
  NonfiniteWatch* watch_ = nullptr;
  RecordedStep recorded_;
  Buffer pending_, logits_;
  int64_t position_ = 0;
};

}  // namespace natrix
