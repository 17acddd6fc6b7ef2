// CarryStates: all carried states at one boundary of the sequence. Its size does not depend on the sequence's
// length. Chunked training keeps one for each boundary in memory; a state file holds one
// (core/io/state_file.h). A state that is put stays in the kind of memory that it came from, host or device.
#pragma once

#include <map>

#include "core/carry/carry_link.h"
#include "kernels/base/buffer.h"

namespace natrix {

class CarryStates {
 public:
  /// The stored state, or an empty view (zero).
  View at(CarryKey key) const;
  /// Copies `state`, unless it is the stored state itself. Reuses the memory of an earlier state of the same
  /// shape, dtype and kind of memory. An empty view removes the entry.
  void put(CarryKey key, View state);
  /// Allocates memory for a state that the caller writes through at(). Earlier contents may be lost.
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
