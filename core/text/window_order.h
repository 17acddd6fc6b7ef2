// WindowOrder: the order in which order: shuffled takes the windows of a corpus.
//
// The corpus is a ring. Each epoch cuts it into floor(ring / length) windows from a random phase, and takes
// them in a random order. Both depend on the seed and the epoch only.
#pragma once

#include <cstdint>

#include "core/text/random_order.h"

namespace natrix {

class WindowOrder {
 public:
  /// The ring has at least `length` tokens.
  WindowOrder(int64_t ring, int64_t length, uint64_t seed)
      : ring_(ring), length_(length), windows_(ring / length), seed_(seed) {}

  int64_t windows() const { return windows_; }  // of an epoch
  /// Where the window begins that is taken after `drawn` others, counted over all epochs.
  int64_t begin(int64_t drawn) const {
    const uint64_t key = scatter(scatter(seed_) ^ static_cast<uint64_t>(drawn / windows_));
    const auto phase = static_cast<int64_t>(scatter(key) % static_cast<uint64_t>(ring_));
    return (phase + RandomOrder(windows_, key)[drawn % windows_] * length_) % ring_;
  }

 private:
  int64_t ring_, length_, windows_;
  uint64_t seed_;
};

}  // namespace natrix
