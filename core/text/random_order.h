// RandomOrder: a random permutation of [0, count) that needs no memory, whatever the count.
//
// A Feistel network permutes the smallest range of 2^(even) values that holds `count`. A result outside
// [0, count) goes through the network again until it falls inside (cycle walking; fewer than four rounds on
// average). All arithmetic is on integers, so the order is the same on every machine.
#pragma once

#include <array>
#include <cstdint>

namespace natrix {

/// One output of SplitMix64 from this state: a bijection of 64 bits that mixes well.
uint64_t scatter(uint64_t x);

class RandomOrder {
 public:
  RandomOrder(int64_t count, uint64_t key);
  int64_t operator[](int64_t index) const;

 private:
  uint64_t permute(uint64_t x) const;

  uint64_t count_;
  int half_bits_;
  std::array<uint64_t, 6> round_keys_;
};

}  // namespace natrix
