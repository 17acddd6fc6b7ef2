// Communicators over threads: the cases that every transport is held to, and what happens when a rank fails.
#include "distributed/thread_communicator.h"

#include <gtest/gtest.h>

#include "kernels/base/check.h"
#include "tests/distributed/rank_cases.h"

namespace natrix::test {
namespace {

class ThreadRanks : public ::testing::TestWithParam<std::tuple<size_t, int>> {};

TEST_P(ThreadRanks, Case) {
  const auto [which, ranks] = GetParam();
  EXPECT_NO_THROW(run_ranks(ranks, 30, rank_cases()[which].run)) << rank_cases()[which].name;
}

INSTANTIATE_TEST_SUITE_P(All, ThreadRanks,
                         ::testing::Combine(::testing::Range<size_t>(0, rank_cases().size()),
                                            ::testing::Values(1, 2, 3, 4)),
                         [](const auto& info) {
                           return rank_cases()[std::get<0>(info.param)].name + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST(ThreadRanks, OneThatThrowsEndsTheOthersWithItsMessage) {
  try {
    run_ranks(3, 3600, [](Transport& world) {
      if (world.rank() == 1) throw RunError("rank 1 has had enough");
      std::byte nothing[1];
      world.receive(nothing, 1, "a word");
    });
    FAIL();
  } catch (const RunError& e) {
    EXPECT_STREQ(e.what(), "rank 1 has had enough");
  }
}

}  // namespace
}  // namespace natrix::test
