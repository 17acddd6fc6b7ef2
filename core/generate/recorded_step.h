// RecordedStep: runs one more token per row, from carried states to logits, as one replayed capture
// (a CUDA graph).
//
// A session's states alternate between two memory blocks, and a capture keeps addresses. A step is therefore
// captured once for each block. Uncaptured steps come before: they allocate both blocks and grow the arena to
// its final size. From then on a token costs the host one upload, one call, and the wait for its logits.
#pragma once

#include <vector>

#include "core/carry/carry_route.h"
#include "core/layers/model.h"
#include "kernels/base/recording.h"

namespace natrix {

class RecordedStep {
 public:
  /// All references are borrowed. wanted = false: never captures anything.
  RecordedStep(const Model& model, Context& ctx, LocalRoute& route, int64_t batch, bool wanted);

  /// Whether run() can take the next token. It cannot if the backend has no captures, if a layer waits for
  /// the device, or before two tokens were run without a capture.
  bool ready();
  /// tokens [B, 1] i64 → logits [B, V] in the backend's memory, valid until `ctx` is used again. Advances the
  /// route's states by one segment.
  View run(View tokens);
  /// Tells that one token per row was run without a capture.
  void note_unrecorded();
  /// Drops all captures, because the route's states have moved.
  void forget();

 private:
  struct Recorded {
    const void* from;  // address of the entering states
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
  Buffer tokens_;  // [B, 1], in the backend's memory
  int unrecorded_ = 0;
  uint64_t arena_generation_ = 0;
  std::vector<Recorded> recorded_;
};

}  // namespace natrix
