// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a small generator that gives the same numbers on every
// platform. The distributions of <random> do not.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace natrix {

class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  /// Advances the state as n calls of next() do.
  void skip(uint64_t n) { state_ += n * 0x9E3779B97F4A7C15ull; }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }  // [0, 1)
  double normal() {                                                           // Box–Muller
    const double radius = std::sqrt(-2 * std::log1p(-uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  uint64_t state_;
};

}  // namespace natrix
