// LmHead: computes the loss from hidden states in tiles of tokens, so that the logits [T, V] of a whole
// sequence never exist.
#pragma once

#include "core/layers/layer.h"

namespace natrix {

class LmHead {
 public:
  /// weight [V, D]: the head's own parameter, or the embedding's if they are tied. Borrowed.
  explicit LmHead(Param& weight) : weight_(&weight) {}

  /// hidden [R.., D] → logits [R, V], in the arena. They are f32 if hidden is bf16.
  View logits(Context& ctx, View hidden) const;

  /// The sum of the cross-entropies in nats, added in f64 in the order of the rows. targets [R..] i64, in
  /// host or device memory. losses, optional: receives the loss of each row, [R] f64 in host memory.
  double loss(Context& ctx, View hidden, View targets, View losses = {}) const;

  /// Like loss(). Also adds scale · ∂loss/∂weight to the weight's gradient, and writes
  /// dhidden = scale · ∂loss/∂hidden.
  double loss_and_gradient(Context& ctx, View hidden, View targets, double scale, View dhidden);

  /// Rows of a tile, 256 to 4096: about 8 MiB of logits, which fit in a last-level cache. Each tile reads the
  /// weight three times and its gradient once. With a large vocabulary these are far larger than any cache,
  /// so a tile needs enough rows to repay them.
  static int64_t tile_rows(int64_t vocabulary);

 private:
  double tiles(Context& ctx, View hidden, View targets, View losses, double scale, View dhidden) const;

  Param* weight_;
};

}  // namespace natrix
