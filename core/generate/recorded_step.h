// RecordedStep: one more token a row, from carried states to logits, as one call of the device.
//
// A session's states alternate between two places, which a recording keeps as addresses. So a step is
// recorded once from each of them, after steps that were not recorded have made both, and all room in the
// arena; from then on a token costs the host an upload, a call, and the wait for its logits.
#pragma once

#include <vector>

#include "core/carry/carry_route.h"
#include "core/layers/model.h"
#include "kernels/base/recording.h"

namespace natrix {

class RecordedStep {
 public:
  /// Borrowed. wanted: false, and it is never ready.
  RecordedStep(const Model& model, Context& ctx, LocalRoute& route, int64_t batch, bool wanted);

  /// Whether run() may take the next token. Not where a backend has nothing to record, or a layer waits for
  /// what it computes; and not before two tokens were taken without it.
  bool ready();
  /// tokens [B, 1] i64 in, logits [B, V] out, where the kernels are; good until `ctx` is used again. The
  /// route's states go on by a segment.
  View run(View tokens);
  /// A token a row was taken without it.
  void note_unrecorded();
  /// The route's states lie elsewhere now.
  void forget();

 private:
  struct Recorded {
    const void* from;  // where the states lie that it enters with
    Recording work;
    View logits;
  };
  const Recorded& recorded_here();
  View compute() const;

  const Model& model_;
  Context& ctx_;
  LocalRoute& route_;
  int64_t batch_;
  bool possible_;
  Buffer tokens_;  // [B, 1], where the kernels are
  int unrecorded_ = 0;
  uint64_t arena_generation_ = 0;
  std::vector<Recorded> recorded_;
};

}  // namespace natrix
