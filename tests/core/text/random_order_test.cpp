#include "core/text/random_order.h"

#include <gtest/gtest.h>
#include <set>
#include <vector>

namespace natrix::test {
namespace {

TEST(RandomOrder, IsAPermutation) {
  for (int64_t count = 1; count <= 300; ++count) {
    const RandomOrder order(count, static_cast<uint64_t>(count) * 31);
    std::set<int64_t> seen;
    for (int64_t i = 0; i < count; ++i) seen.insert(order[i]);
    ASSERT_EQ(static_cast<int64_t>(seen.size()), count);
    ASSERT_EQ(*seen.begin(), 0);
    ASSERT_EQ(*seen.rbegin(), count - 1);
  }
}

TEST(RandomOrder, IsTheSameOnEveryMachine) {  // figures from an implementation in Python's integers
  const RandomOrder ten(10, 7);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < 10; ++i) order.push_back(ten[i]);
  EXPECT_EQ(order, (std::vector<int64_t>{2, 7, 6, 8, 5, 4, 3, 0, 9, 1}));
  const RandomOrder large(1'000'000'000'000, 42);
  EXPECT_EQ(large[0], 688354030294);
  EXPECT_EQ(large[3], 216342992882);
}

TEST(RandomOrder, PutsEveryItemEverywhere) {
  constexpr int kKeys = 6000, kCount = 6;
  int where[kCount][kCount] = {};
  for (uint64_t key = 0; key < kKeys; ++key) {
    const RandomOrder order(kCount, key);
    for (int i = 0; i < kCount; ++i) ++where[i][order[i]];
  }
  // Binomial with mean 1000 and deviation 29; six deviations in 36 cells fail once in 10^7 keys' worth, and
  // keys are fixed.
  for (const auto& row : where) {
    for (const int count : row) EXPECT_NEAR(count, 1000, 175);
  }
}

}  // namespace
}  // namespace natrix::test
