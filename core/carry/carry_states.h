// CarryStates: all carried states at one boundary of the sequence. Its size does not depend on the sequence's
// length. In memory it is what chunked training keeps per boundary; in a file it is a prefix
// (core/io/state_file.h). A state lies where the one that was put lay: what a layer leaves, with the layer.
#pragma once

#include <map>

#include "core/carry/carry_link.h"
#include "kernels/base/buffer.h"

namespace natrix {

class CarryStates {
 public:
  /// The stored state, or an empty view (zero).
  View at(CarryKey key) const;
  /// Copies `state`, unless it lies here already; memory of an earlier state of the same shape is used again.
  /// An empty view removes the entry.
  void put(CarryKey key, View state);
  /// Memory for a state that somebody else writes; what was there may be gone.
  void make(CarryKey key, Dtype dtype, const Shape& shape, Memory memory = Memory::kHost);
  void clear() { states_.clear(); }
  bool empty() const { return states_.empty(); }
  int64_t bytes() const;

  const std::map<CarryKey, Buffer>& entries() const { return states_; }

 private:
  std::map<CarryKey, Buffer> states_;
};

/// A deep copy.
CarryStates copy_of(const CarryStates& states);
CarryStates copy_of(const CarryStates& states, Memory memory);

}  // namespace natrix
