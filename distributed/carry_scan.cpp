#include "distributed/carry_scan.h"

#include <vector>

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

/// state = decay ⊙ state + addend. An empty decay stands for zero.
void apply(View decay, View addend, View state) {
  for_float(state.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* s = state.as<T>();
    const T *a = addend.as<T>(), *d = decay.as<T>();
    for (int64_t i = 0; i < state.count(); ++i) s[i] = decay ? d[i] * s[i] + a[i] : a[i];
  });
}

}  // namespace

CarryScan::CarryScan(Communicator& axis, Context& ctx, Direction direction)
    : axis_(axis),
      ctx_(ctx),
      place_(direction == Direction::kForward ? axis.rank() : axis.size() - 1 - axis.rank()),
      reversed_(direction == Direction::kBackward) {}

void CarryScan::resume(const CarryStates* states) {
  begin_ = states != nullptr && place_ == 0 ? copy_of(*states) : CarryStates();
  fresh_ = true;
  boundary_ = false;
  next_.clear();
}

void CarryScan::rejoin(const CarryStates& boundary) {
  begin_ = copy_of(boundary);
  fresh_ = boundary_ = true;
  next_.clear();
}

void CarryScan::begin_segment(bool) {
  first_ = fresh_;
  boundary_ = boundary_ && fresh_;
  fresh_ = false;
  std::swap(start_, next_);
}

View CarryScan::enter(CarryKey key, Dtype dtype, const Shape& shape,
                      const std::function<SegmentMap()>& summarise) {
  const Shape flat{shape.count()};
  const SegmentMap map = summarise();
  if (ctx_.dry()) return enter_dry(key, dtype, shape, map);
  // In the first segment the others do not know rank 0's entering state, so it is gathered with the maps.
  const int64_t parts = 1 + (map.decay ? 1 : 0) + (first_ ? 1 : 0);
  // Maps are small and are combined on the host, wherever they were computed.
  Arena::Frame frame(ctx_.arena());
  std::vector<Buffer> apart;
  const auto room = [&](const Shape& s) {
    if (ctx_.memory() == Memory::kHost) return ctx_.arena().take(dtype, s);
    return apart.emplace_back(dtype, s).view();
  };
  const View mine = room({parts, flat[0]}), all = room({axis_.size() * parts, flat[0]});
  fill_zero(mine);
  const auto put = [&](View part, int64_t row) {
    copy(OnHost(ctx_, part).view().reshaped(Shape{1, flat[0]}), mine.row_range(row, 1));
  };
  put(map.state, 0);
  if (map.decay) put(map.decay, 1);
  if (View b = begin_.at(key); first_ && b) put(b, parts - 1);
  axis_.all_gather(ctx_, mine, all);

  const auto part = [&](int place, int64_t i) {
    const int64_t rank = reversed_ ? axis_.size() - 1 - place : place;
    return all.row_range(rank * parts + i, 1).reshaped(flat);
  };
  next_.make(key, dtype, shape);
  entering_.make(key, dtype, shape, ctx_.memory());
  View state = next_.at(key).reshaped(flat), mine_in = entering_.at(key).reshaped(flat);
  copy(first_ ? part(0, parts - 1) : start_.at(key).reshaped(flat), state);
  for (int place = 0; place < axis_.size(); ++place) {
    if (place == place_) upload(ctx_, state, mine_in);
    apply(map.decay ? part(place, 1) : View{}, part(place, 0), state);
  }
  // Use exactly the bits of the earlier pass, whose activations backward needs.
  if (first_ && boundary_) entering_.put(key, begin_.at(key));
  return entering_.at(key);
}

/// The same messages and memory. The maps meet on the host: in the arena, where that is the host's.
View CarryScan::enter_dry(CarryKey key, Dtype dtype, const Shape& shape, const SegmentMap& map) {
  const int64_t parts = 1 + (map.decay ? 1 : 0) + (first_ ? 1 : 0);
  const Shape mine{parts, shape.count()}, all{axis_.size() * parts, shape.count()};
  Arena::Frame frame(ctx_.arena());
  std::vector<Buffer> apart;
  const auto room = [&](const Shape& s) {
    if (ctx_.like() != Backend::kCuda) return ctx_.arena().take(dtype, s);
    return apart.emplace_back(dtype, s, Memory::kDry).view();
  };
  const View from = room(mine), to = room(all);
  axis_.all_gather(ctx_, from, to);
  // Each map is read, and the state read and written.
  ctx_.ledger().add(
      {.work = Work::kMaps, .bytes = bytes_of({to}) + static_cast<double>(2 * to.bytes() / parts)});
  next_.make(key, dtype, shape, ctx_.memory());
  entering_.make(key, dtype, shape, ctx_.memory());
  return entering_.at(key);
}

const CarryStates& CarryScan::end_states() {
  if (axis_.rank() != 0) next_.clear();
  return next_;
}

}  // namespace natrix
