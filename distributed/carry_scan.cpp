#include "distributed/carry_scan.h"

#include <vector>

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

/// state = decay ⊙ state + addend. An empty decay stands for zero. One decay may stand for many elements, as a
/// head's does for its whole state.
void apply(View decay, View addend, View state) {
  for_float(state.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* s = state.as<T>();
    const T *a = addend.as<T>(), *d = decay.as<T>();
    const int64_t shared = decay ? state.count() / decay.count() : 1;
    for (int64_t i = 0; i < state.count(); ++i) s[i] = decay ? d[i / shared] * s[i] + a[i] : a[i];
  });
}

}  // namespace

CarryScan::CarryScan(Communicator& axis, Context& ctx, Direction direction)
    : axis_(axis),
      ctx_(ctx),
      place_(direction == Direction::kForward ? axis.rank() : axis.size() - 1 - axis.rank()),
      reversed_(direction == Direction::kBackward),
      rows_(axis, ctx, /*first_ends=*/true) {}

void CarryScan::resume(const CarryStates* states) {
  begin_ = states != nullptr && place_ == 0 ? copy_of(*states) : CarryStates();
  rows_.resume(states);
  fresh_ = true;
  boundary_ = false;
  next_.clear();
}

void CarryScan::rejoin(const CarryStates& boundary) {
  begin_ = copy_of(boundary);
  rows_.rejoin(boundary);
  fresh_ = boundary_ = true;
  next_.clear();
}

void CarryScan::begin_segment(bool last) {
  rows_.begin_segment(last);
  first_ = fresh_;
  boundary_ = boundary_ && fresh_;
  fresh_ = false;
  std::swap(start_, next_);
}

View CarryScan::enter(CarryKey key, Dtype dtype, const Shape& shape,
                      const std::function<SegmentMap()>& summarise) {
  const Shape flat{shape.count()};
  const SegmentMap map = summarise();
  const int64_t decays = map.decay ? map.decay.count() : 0;
  if (ctx_.dry()) return enter_dry(key, dtype, shape, decays);
  // A map is its state, its decays, and in the first segment rank 0's entering state, which the others do not
  // know.
  const int64_t size = flat[0] + decays + (first_ ? flat[0] : 0);
  // Maps are small and are combined on the host, wherever they were computed.
  Arena::Frame frame(ctx_.arena());
  std::vector<Buffer> apart;
  const auto room = [&](const Shape& s) {
    if (ctx_.memory() == Memory::kHost) return ctx_.arena().take(dtype, s);
    return apart.emplace_back(dtype, s).view();
  };
  const View mine = room({1, size}), all = room({axis_.size(), size});
  fill_zero(mine);
  const auto put = [&](View part, int64_t at) {
    const int64_t n = part.count();
    copy(OnHost(ctx_, part).view().reshaped(Shape{1, n}), mine.columns(at, n));
  };
  put(map.state, 0);
  if (map.decay) put(map.decay, flat[0]);
  if (View b = begin_.at(key); first_ && b) put(b, flat[0] + decays);
  axis_.all_gather(ctx_, mine, all);

  const auto part = [&](int place, int64_t at, int64_t n) {
    const int64_t rank = reversed_ ? axis_.size() - 1 - place : place;
    return all.row_range(rank, 1).columns(at, n).reshaped(Shape{n});
  };
  next_.make(key, dtype, shape);
  entering_.make(key, dtype, shape, ctx_.memory());
  View state = next_.at(key).reshaped(flat), mine_in = entering_.at(key).reshaped(flat);
  copy(first_ ? part(0, flat[0] + decays, flat[0]) : start_.at(key).reshaped(flat), state);
  for (int place = 0; place < axis_.size(); ++place) {
    if (place == place_) upload(ctx_, state, mine_in);
    apply(decays > 0 ? part(place, flat[0], decays) : View{}, part(place, 0, flat[0]), state);
  }
  // Use exactly the bits of the earlier pass, whose activations backward needs.
  if (first_ && boundary_) entering_.put(key, begin_.at(key));
  return entering_.at(key);
}

/// The same messages and memory. The maps meet on the host: in the arena, where that is the host's.
View CarryScan::enter_dry(CarryKey key, Dtype dtype, const Shape& shape, int64_t decays) {
  const int64_t size = shape.count() + decays + (first_ ? shape.count() : 0);
  Arena::Frame frame(ctx_.arena());
  std::vector<Buffer> apart;
  const auto room = [&](const Shape& s) {
    if (ctx_.like() != Backend::kCuda) return ctx_.arena().take(dtype, s);
    return apart.emplace_back(dtype, s, Memory::kDry).view();
  };
  const View from = room({1, size}), to = room({axis_.size(), size});
  axis_.all_gather(ctx_, from, to);
  // Each map is read, and the state read and written for each of them.
  const double states = static_cast<double>(axis_.size() * shape.count() * size_of(dtype));
  ctx_.ledger().add({.work = Work::kMaps, .bytes = bytes_of({to}) + 2 * states});
  next_.make(key, dtype, shape, ctx_.memory());
  entering_.make(key, dtype, shape, ctx_.memory());
  return entering_.at(key);
}

const CarryStates& CarryScan::end_states() {
  if (axis_.rank() != 0) next_.clear();
  if (axis_.rank() == 0) rows_.put_end(next_);
  return next_;
}

}  // namespace natrix
