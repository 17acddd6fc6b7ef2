// Session: a model that reads and writes one stream of tokens per row, in memory that does not depend on
// the stream's length.
//
// The same layers prefill in chunks of any size and decode token by token. The last token that was fed stays
// pending until its logits are asked for. A saved session is the states before that token, and the token.
// Saving and restoring therefore computes the same as never having stopped.
#pragma once

#include <functional>

#include "core/generate/recorded_step.h"
#include "core/sequence/segment_schedule.h"

namespace natrix {

class NonfiniteWatch;

class Session {
 public:
  /// References are borrowed. chunk: tokens of a row that prefill runs at once. records: captures decoding
  /// steps where possible (recorded_step.h); the results have the same bits.
  Session(Model& model, Context& ctx, int64_t batch, int64_t chunk, bool records = true);

  /// Appends tokens [B, T] i64 to the rows. Calls progress(tokens that were run) after each segment.
  void feed(
      View tokens, const std::function<void(int64_t)>& progress = [](int64_t) {});
  /// The logits of the next token, f32 [B, V], valid until the next call. At least one token must
  /// have been fed.
  View logits();

  const Model& model() const { return model_; }
  int64_t batch() const { return batch_; }
  /// Shows all later outputs to `watch`, for diagnosis. Borrowed. The session must not capture.
  void watch(NonfiniteWatch& watch);

  /// The number of tokens of a row that were fed, including the pending one.
  int64_t position() const { return position_; }
  const CarryStates& states() const { return route_.carried(); }
  View pending() const { return pending_ ? pending_.view() : View{}; }  // [B, 1] i64, or empty
  /// Continues from a saved session. Its states may be in host or device memory. pending: [B, 1], or empty.
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
