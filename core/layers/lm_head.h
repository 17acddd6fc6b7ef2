// LmHead: from hidden states to the loss, in tiles of tokens,
// so that logits [T, V] of a sequence never exist.
#pragma once

#include "core/layers/layer.h"

namespace natrix {

class LmHead {
 public:
  /// weight [V, D]: a parameter of its own, or the embedding's (tied). Borrowed.
  explicit LmHead(Param& weight) : weight_(&weight) {}

  /// hidden [R.., D] → logits [R, V], in the arena; f32 where hidden is bf16.
  View logits(Context& ctx, View hidden) const;

  /// Σ of the cross-entropies in nats (summed in f64 in the order of the rows). targets [R..] i64, with the
  /// host or not. losses: optional, [R] f64 with the host, each row's.
  double loss(Context& ctx, View hidden, View targets, View losses = {}) const;

  /// As loss(); also adds scale · ∂/∂weight to its gradient and writes dhidden (=) scale · ∂/∂hidden.
  double loss_and_gradient(Context& ctx, View hidden, View targets, double scale, View dhidden);

  /// Rows a tile: as many as have logits of about 8 MiB, which stay in a last-level cache; but enough to
  /// repay reading the weights of a large vocabulary three times and their gradient once, which are far
  /// larger than any cache.
  static int64_t tile_rows(int64_t vocabulary);

 private:
  double tiles(Context& ctx, View hidden, View targets, View losses, double scale, View dhidden) const;

  Param* weight_;
};

}  // namespace natrix
