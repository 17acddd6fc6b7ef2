#include "distributed/waiting.h"

#include <gtest/gtest.h>
#include <thread>

namespace natrix {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kTimeout = 0.05;  // seconds

TEST(Waiting, PatienceEndsAfterTheTimeoutAndNotBefore) {
  const Clock::time_point start = Clock::now();
  Patience patience(kTimeout);
  while (patience.wait()) {
  }
  EXPECT_GE(std::chrono::duration<double>(Clock::now() - start).count(), kTimeout);
}

// As one is by SIGSTOP, or by a job's end, which wakes it up again.
TEST(Waiting, ARankThatWasStoppedItselfDoesNotBlameOthersForIt) {
  Patience patience(kTimeout);
  for (int look = 0; look < 102; ++look) ASSERT_TRUE(patience.wait());  // beyond those that take no time
  std::this_thread::sleep_for(std::chrono::duration<double>(3 * kTimeout));
  EXPECT_TRUE(patience.wait());
}

}  // namespace
}  // namespace natrix
