#include "core/sequence/revolve.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>

namespace natrix {
namespace {

/// Forward runs that the schedule makes for [first, last) once `first` is held, beyond those that record: the
/// loop of SegmentSchedule in miniature. Checks that slots are never exceeded.
int64_t runs(int64_t length, int64_t slots) {
  std::vector<int64_t> held;
  int64_t n = 0;
  for (int64_t s = length - 1; s >= 0; --s) {
    const int64_t from = held.empty() ? 0 : held.back();
    if (from != s) {
      for (int64_t k : boundaries_to_keep(from, s + 1, slots - static_cast<int64_t>(held.size())))
        held.push_back(k);
      n += s - from;
    }
    EXPECT_LE(static_cast<int64_t>(held.size()), slots);
    EXPECT_TRUE(std::is_sorted(held.begin(), held.end()));
    if (!held.empty() && held.back() == s) held.pop_back();
  }
  return n;
}

/// The least possible, by dynamic programming over the first boundary kept.
int64_t least(int64_t length, int64_t slots, std::map<std::pair<int64_t, int64_t>, int64_t>& known) {
  if (length <= 1) return 0;
  if (slots == 0) return length * (length - 1) / 2;
  const auto found = known.find({length, slots});
  if (found != known.end()) return found->second;
  int64_t best = length * (length - 1) / 2;
  for (int64_t m = 1; m < length; ++m) {
    best = std::min(best, m + least(length - m, slots - 1, known) + least(m, slots, known));
  }
  return known[{length, slots}] = best;
}

TEST(Revolve, IsOptimal) {
  std::map<std::pair<int64_t, int64_t>, int64_t> known;
  for (int64_t length : {1, 2, 3, 5, 8, 13, 21, 34, 55, 80}) {
    for (int64_t slots : {0, 1, 2, 3, 5, 9, 100})
      EXPECT_EQ(runs(length, slots), least(length, slots, known)) << length << " " << slots;
  }
}

TEST(Revolve, ReversibleLengthIsBinomial) {
  EXPECT_EQ(reversible_length(3, 2), 15);
  EXPECT_EQ(reversible_length(0, 5), 6);  // no slot: each segment from the start again
  EXPECT_EQ(reversible_length(22, 2), 300);
  EXPECT_EQ(reversible_length(10, 3), 364);
  EXPECT_GT(reversible_length(1000, 1000), int64_t{1} << 60);
}

TEST(Revolve, KeepsAllWhereAllFit) {
  EXPECT_EQ(boundaries_to_keep(0, 5, 10), (std::vector<int64_t>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace natrix
