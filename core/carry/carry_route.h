// CarryRoute: a CarryLink that lasts for a whole sweep over the segments of a sequence, in either direction
// of time. LocalRoute serves one process; routes between ranks stand in distributed/.
#pragma once

#include "core/carry/carry_states.h"

namespace natrix {

class CarryRoute : public CarryLink {
 public:
  /// The sweep starts at the sequence's first token, with `states`; null stands for zero. Between ranks the
  /// first one's count.
  virtual void resume(const CarryStates* states) = 0;
  /// The sweep starts at a segment within the sequence, for which this process recorded `boundary`.
  virtual void rejoin(const CarryStates& boundary) = 0;
  /// The next segment begins: what was left is now what is entered with.
  /// last: no other follows in this sweep.
  virtual void begin_segment(bool last) = 0;
  /// After a last segment: the states that it left behind. Between ranks, those of the rank that has them:
  /// see CarryAxis::to_first.
  virtual const CarryStates& end_states() = 0;
};

/// One process: what a segment leaves, the next one enters with.
class LocalRoute final : public CarryRoute {
 public:
  void resume(const CarryStates* states) override;
  void rejoin(const CarryStates& boundary) override { resume(&boundary); }
  void begin_segment(bool) override { std::swap(entering_, leaving_); }
  const CarryStates& end_states() override { return leaving_; }
  /// The states that the segments so far have left behind, or, within a segment, where it leaves them.
  const CarryStates& carried() const { return leaving_; }
  /// Those that the segment in hand began with.
  const CarryStates& entering() const { return entering_; }
  View enter(CarryKey key, Dtype, const Shape&, const std::function<SegmentMap()>&) override {
    return entering_.at(key);
  }
  View room(CarryKey key, Dtype dtype, const Shape& shape, Memory memory) override {
    leaving_.make(key, dtype, shape, memory);
    return leaving_.at(key);
  }
  void leave(CarryKey key, View state) override { leaving_.put(key, state); }

 private:
  CarryStates entering_, leaving_;  // two, because backward still reads the state that a segment entered with
};

/// Cuts the sequence: every segment enters with zero and what it leaves is dropped. The gradient route of
/// truncated backpropagation through time.
class CutRoute final : public CarryRoute {
 public:
  void resume(const CarryStates*) override {}
  void rejoin(const CarryStates&) override {}
  void begin_segment(bool) override {}
  const CarryStates& end_states() override { return nothing_; }
  View enter(CarryKey, Dtype, const Shape&, const std::function<SegmentMap()>&) override { return {}; }
  void leave(CarryKey, View) override {}

 private:
  CarryStates nothing_;
};

/// Keeps a copy of every state that a segment enters with: the boundary from which it can be run again.
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

 private:
  CarryLink& inner_;
  CarryStates& boundary_;
};

/// Runs a segment again from its recorded boundary, without any carry traffic.
class ReplayLink final : public CarryLink {
 public:
  explicit ReplayLink(const CarryStates& boundary) : boundary_(boundary) {}
  View enter(CarryKey key, Dtype, const Shape&, const std::function<SegmentMap()>&) override {
    return boundary_.at(key);
  }
  void leave(CarryKey, View) override {}

 private:
  const CarryStates& boundary_;
};

}  // namespace natrix
