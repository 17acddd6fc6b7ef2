// CarryRoute: a CarryLink that lasts for a whole sweep over the segments of a sequence. A sweep runs forward
// or backward in time. LocalRoute serves one process; distributed/ has the routes between ranks.
#pragma once

#include "core/carry/carry_states.h"

namespace natrix {

class CarryRoute : public CarryLink {
 public:
  /// Starts a sweep over a whole sequence. Its first segment, in the direction of the sweep, enters with
  /// `states`; null means zero. Between ranks, only the states given to the first rank count.
  virtual void resume(const CarryStates* states) = 0;
  /// Starts a sweep at a segment within the sequence. `boundary` is what this process kept for that segment.
  virtual void rejoin(const CarryStates& boundary) = 0;
  /// Begins the next segment: the states that the previous one left become the entering states. `last`: this
  /// is the last segment of the sweep.
  virtual void begin_segment(bool last) = 0;
  /// The states that the last segment left. Between ranks not every rank has them; see CarryAxis::to_first.
  virtual const CarryStates& end_states() = 0;
};

/// Writes a segment's rows behind those of `before`, whose store is created if there is none.
History append_to(Context& ctx, AppendedRows before, const RowFormat& format, View rows);

/// One process: the next segment enters with what the previous one left.
class LocalRoute final : public CarryRoute {
 public:
  void resume(const CarryStates* states) override;
  void rejoin(const CarryStates& boundary) override;
  void begin_segment(bool) override { std::swap(entering_, leaving_); }
  const CarryStates& end_states() override { return leaving_; }
  /// The states that the latest segment left. While a segment runs, these are the states that it writes.
  const CarryStates& carried() const { return leaving_; }
  /// The states that the current segment started from.
  const CarryStates& entering() const { return entering_; }
  View enter(CarryKey key, Dtype, const Shape&, const std::function<SegmentMap()>&) override {
    return entering_.at(key);
  }
  View room(CarryKey key, Dtype dtype, const Shape& shape, Memory memory) override {
    leaving_.make(key, dtype, shape, memory);
    return leaving_.at(key);
  }
  void leave(CarryKey key, View state) override { leaving_.put(key, state); }
  History append(Context& ctx, CarryKey key, const RowFormat& format, View rows) override;
  bool ragged() const override { return !entering_.ragged().empty(); }
  History append_row(Context& ctx, CarryKey key, int64_t b, const RowFormat& format, View rows) override;
  History row_gradients(CarryKey key, const History& history) override;
  void collect(Context& ctx, CarryKey key, const History& gradients, View rows) override;

 private:
  CarryStates entering_, leaving_;  // separate, because backward still reads the entering state
};

/// Cuts the sequence at every boundary: each segment enters with zero, and what it leaves is dropped. This is
/// the gradient route of truncated backpropagation through time.
class CutRoute final : public CarryRoute {
 public:
  void resume(const CarryStates*) override {}
  void rejoin(const CarryStates&) override {}
  void begin_segment(bool) override {}
  const CarryStates& end_states() override { return nothing_; }
  View enter(CarryKey, Dtype, const Shape&, const std::function<SegmentMap()>&) override { return {}; }
  void leave(CarryKey, View) override {}
  /// Only the segment's own rows take a gradient; it reads those before as constants.
  History row_gradients(CarryKey key, const History& history) override;
  void collect(Context& ctx, CarryKey, const History& gradients, View rows) override;

 private:
  CarryStates nothing_;
};

/// Copies every entering state of a segment, and the number of appended rows, into `boundary`, from which the segment can be run again.
class RecordingLink final : public CarryLink {
 public:
  RecordingLink(CarryLink& inner, CarryStates& boundary) : inner_(inner), boundary_(boundary) {}
  View enter(CarryKey key, Dtype dtype, const Shape& shape,
             const std::function<SegmentMap()>& summarise) override {
    View state = inner_.enter(key, dtype, shape, summarise);
    boundary_.put(key, state);
    return state;
  }
  View room(CarryKey key, Dtype dtype, const Shape& shape, Memory memory) override {
    return inner_.room(key, dtype, shape, memory);
  }
  void leave(CarryKey key, View state) override { inner_.leave(key, state); }
  History append(Context& ctx, CarryKey key, const RowFormat& format, View rows) override {
    History history = inner_.append(ctx, key, format, rows);
    boundary_.put_rows(key, {history.rows, history.first});
    return history;
  }

 private:
  CarryLink& inner_;
  CarryStates& boundary_;
};

/// Runs a segment again from its boundary. It exchanges no states with other segments or ranks.
class ReplayLink final : public CarryLink {
 public:
  explicit ReplayLink(const CarryStates& boundary) : boundary_(boundary) {}
  View enter(CarryKey key, Dtype, const Shape&, const std::function<SegmentMap()>&) override {
    return boundary_.at(key);
  }
  void leave(CarryKey, View) override {}
  History append(Context& ctx, CarryKey key, const RowFormat& format, View rows) override {
    return append_to(ctx, boundary_.rows_at(key), format, rows);
  }

 private:
  const CarryStates& boundary_;
};

}  // namespace natrix
