// ShortConv: the causal depthwise convolution with SiLU at the start of a Mamba mixer (kernels/conv.h), with
// the tail of inputs [B, K−1, I] that it carries to the next segment.
#pragma once

#include "core/layers/layer.h"

namespace natrix {

class ShortConv {
 public:
  /// taps: K. prefix: start of its tensors' names, "conv1d." is added.
  ShortConv(const std::string& prefix, int64_t channels, int64_t taps, bool with_bias);

  struct Out {
    View c;     // silu(conv(u) + b)
    View tail;  // the tail that the segment started from, for backward
  };
  /// u [B, T, I] may have strided rows. Enters and leaves with the carry `key`.
  Out forward(Pass& pass, CarryKey key, View u) const;
  /// dc → du (overwritten). Adds to the gradients. `tail` is that of forward().
  void backward(Pass& pass, CarryKey key, View u, View tail, View dc, View du);
  void visit(const ParamVisitor& visitor);
  /// What forward() carries, as states of this dtype.
  CarrySpec carry(Dtype state) const;

 private:
  View tail_of(Pass& pass, View u) const;  // the last K − 1 rows of a segment, masked by mask_conv_tail
  Shape tail_shape(const Segment& s) const { return {s.batch, taps_ - 1, channels_}; }
  View bias() const { return with_bias_ ? bias_.value : View{}; }

  int64_t channels_, taps_;
  bool with_bias_;
  Param weight_, bias_;
};

/// Memory for a state that a layer leaves behind. In training it comes from the arena, whatever the link, so
/// that memory can be planned.
View room_for_state(Pass& pass, CarryKey key, Dtype dtype, const Shape& shape);

}  // namespace natrix
