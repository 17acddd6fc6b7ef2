#include "core/layers/short_conv.h"

#include <algorithm>

#include "core/layers/linear.h"
#include "kernels/activation.h"
#include "kernels/conv.h"

namespace natrix {

View room_for_state(Pass& p, CarryKey key, Dtype dtype, const Shape& shape) {
  const View given = p.keeps() ? View{} : p.carry.room(key, dtype, shape, p.ctx.memory());
  return given ? given : p.arena().take(dtype, shape);
}

ShortConv::ShortConv(const std::string& prefix, int64_t channels, int64_t taps, bool with_bias)
    : channels_(channels),
      taps_(taps),
      with_bias_(with_bias),
      weight_(make_param(prefix + "conv1d.weight", {channels, taps}, Init::kUniform, false)),
      bias_(make_param(prefix + "conv1d.bias", {channels}, Init::kUniform, false)) {
  weight_.parts[0].shape = {channels, 1, taps};  // PyTorch's Conv1d: [channels, 1, taps]
  bias_.fan_in = taps;
}

void ShortConv::visit(const ParamVisitor& visitor) {
  visitor(weight_);
  if (with_bias_) visitor(bias_);
}

CarrySpec ShortConv::carry(Dtype state) const {
  return {.part = "conv_tail",
          .row = {taps_ - 1, channels_},
          .dtype = state,
          .fewest_tokens = std::max<int64_t>(taps_ - 1, 1)};
}

ShortConv::Out ShortConv::forward(Pass& p, CarryKey key, View u) const {
  const Segment& seg = p.segment;
  const Dtype state = wide(u.dtype);
  View tail_out = room_for_state(p, key, state, tail_shape(seg));
  View c = p.arena().take(u.dtype, u.shape);
  // The leaving tail does not depend on the entering one, unless the segment is shorter than K − 1 tokens.
  View tail = p.carry.enter(key, state, tail_shape(seg), [&] {
    require(seg.tokens >= taps_ - 1,
            "a segment between ranks must be at least as long as the convolution's tail");
    return SegmentMap{.decay = {}, .state = tail_of(p, u)};
  });
  conv_silu_forward(p.ctx, {.x = u,
                            .weight = weight_.value,
                            .bias = bias(),
                            .tail_in = tail,
                            .doc_start = seg.doc_start,
                            .y = c,
                            .tail_out = tail_out});
  if (seg.doc_start) mask_conv_tail(p.ctx, {.tail = tail_out, .doc_start = seg.doc_start});
  p.carry.leave(key, tail_out);
  return {.c = c, .tail = tail};
}

void ShortConv::backward(Pass& p, CarryKey key, View u, View tail, View dc, View du) {
  const Segment& seg = p.segment;
  const Dtype state = wide(u.dtype);
  const auto conv_backward = [&](View dtail_out, View dtail_in, View dweight, View dbias) {
    conv_silu_backward(p.ctx, {.x = u,
                               .weight = weight_.value,
                               .bias = bias(),
                               .tail_in = tail,
                               .doc_start = seg.doc_start,
                               .dy = dc,
                               .dtail_out = dtail_out,
                               .dx = du,
                               .dweight = dweight,
                               .dbias = dbias,
                               .dtail_in = dtail_in});
  };
  View dtail_out = p.carry.enter(key, state, tail_shape(seg), [&] {
    // With a zero gradient from the next segment, the result is this segment's own contribution.
    SegmentMap map{.decay = {}, .state = p.arena().take(state, tail_shape(seg))};
    conv_backward({}, map.state, p.arena().zeros(state, weight_.shape),
                  with_bias_ ? p.arena().zeros(state, {channels_}) : View{});
    return map;
  });
  if (dtail_out && seg.doc_start) {
    View masked = p.arena().like(dtail_out);
    copy(dtail_out, masked);
    mask_conv_tail(p.ctx, {.tail = masked, .doc_start = seg.doc_start});
    dtail_out = masked;
  }
  View dtail = p.arena().take(state, tail_shape(seg));
  conv_backward(dtail_out, dtail, weight_.grad, with_bias_ ? bias_.grad : View{});
  p.carry.leave(key, dtail);
}

View ShortConv::tail_of(Pass& p, View u) const {
  View tail = p.arena().take(wide(u.dtype), tail_shape(p.segment));
  for (int64_t b = 0; b < p.segment.batch; ++b) {
    cast(p.ctx, {.from = u.row_range((b + 1) * p.segment.tokens - (taps_ - 1), taps_ - 1),
                 .to = tail.row_range(b * (taps_ - 1), taps_ - 1)});
  }
  if (p.segment.doc_start) mask_conv_tail(p.ctx, {.tail = tail, .doc_start = p.segment.doc_start});
  return tail;
}

}  // namespace natrix
