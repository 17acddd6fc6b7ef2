#include "core/text/random_order.h"

#include <algorithm>
#include <bit>

#include "core/files/random.h"
#include "kernels/base/check.h"

namespace natrix {

uint64_t scatter(uint64_t x) {
  return SplitMix64(x).next();
}

RandomOrder::RandomOrder(int64_t count, uint64_t key) : count_(static_cast<uint64_t>(count)) {
  require(count > 0, "a random order of nothing");
  half_bits_ = std::max(1, (static_cast<int>(std::bit_width(count_ - 1)) + 1) / 2);
  for (auto& round_key : round_keys_) round_key = key = scatter(key);
}

int64_t RandomOrder::operator[](int64_t index) const {
  require(0 <= index && static_cast<uint64_t>(index) < count_, "index outside of a random order");
  auto x = static_cast<uint64_t>(index);
  do {
    x = permute(x);
  } while (x >= count_);
  return static_cast<int64_t>(x);
}

uint64_t RandomOrder::permute(uint64_t x) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = x >> half_bits_, right = x & mask;
  for (const uint64_t round_key : round_keys_) {
    const uint64_t mixed = left ^ (scatter(right ^ round_key) & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits_ | right;
}

}  // namespace natrix
