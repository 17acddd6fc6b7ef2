#include "core/layers/position.h"

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

constexpr CarryKey kPosition{.layer = -1, .part = 0};  // belongs to the model, not to a layer

/// The index of the last document start in one row of the segment, or −1.
int64_t last_start(View doc_start, int64_t row, int64_t tokens) {
  if (!doc_start) return -1;
  const uint8_t* starts = doc_start.as<uint8_t>() + row * tokens;
  int64_t t = tokens - 1;
  while (t >= 0 && starts[t] == 0) --t;
  return t;
}

}  // namespace

CarriedState position_state() {
  return {
      .key = kPosition, .name = "position", .spec = {.part = "position", .row = {1}, .dtype = Dtype::kF64}};
}

View enter_positions(Pass& p) {
  const Segment& seg = p.segment;
  const Shape shape{seg.batch, 1};
  const OnHost starts(p.ctx, seg.doc_start);
  Buffer advance(Dtype::kF64, shape), decay(Dtype::kF64, shape);
  double *step = advance.view().as<double>(), *keep = decay.view().as<double>();
  for (int64_t b = 0; b < seg.batch; ++b) {
    const int64_t start = last_start(starts.view(), b, seg.tokens);
    keep[b] = start < 0 ? 1 : 0;
    step[b] = static_cast<double>(start < 0 ? seg.tokens : seg.tokens - start);
  }
  View entered = p.carry.enter(kPosition, Dtype::kF64, shape,
                               [&] { return SegmentMap{.decay = decay.view(), .state = advance.view()}; });

  const OnHost before(p.ctx, entered);
  Buffer position(Dtype::kI64, {seg.batch}), after(Dtype::kF64, shape);
  for (int64_t b = 0; b < seg.batch; ++b) {
    const double carried = entered ? before.view().as<double>()[b] : 0;
    const bool starts_here = seg.doc_start && starts.view().as<uint8_t>()[b * seg.tokens] != 0;
    position.view().as<int64_t>()[b] = starts_here ? 0 : static_cast<int64_t>(carried);
    after.view().as<double>()[b] = keep[b] * carried + step[b];
  }
  View left = p.arena().take(Dtype::kF64, shape), result = p.arena().take(Dtype::kI64, {seg.batch});
  upload(p.ctx, after.view(), left);
  p.carry.leave(kPosition, left);
  upload(p.ctx, position.view(), result);
  return result;
}

}  // namespace natrix
