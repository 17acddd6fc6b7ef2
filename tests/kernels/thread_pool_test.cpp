#include "kernels/base/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/base/parallel.h"
#include "kernels/base/transfer.h"

namespace natrix {
namespace {

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (int64_t count : {0, 1, 2, 5, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
      pool.run(count, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
      for (const auto& n : runs) ASSERT_EQ(n.load(), 1);
    }
  }
}

TEST(ThreadPool, ManyShortJobsInARow) {
  ThreadPool pool(4);
  int64_t sum = 0;
  for (int job = 0; job < 20000; ++job) {
    std::atomic<int64_t> part{0};
    pool.run(3, [&](int64_t i) { part += i + 1; });
    sum += part.load();
  }
  EXPECT_EQ(sum, 6 * 20000);
}

TEST(ThreadPool, SleepersWakeUp) {
  ThreadPool pool(3);
  for (int job = 0; job < 5; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int64_t> n{0};
    pool.run(100, [&](int64_t) { ++n; });
    EXPECT_EQ(n.load(), 100);
  }
}

TEST(ThreadPool, ResultsOfTasksAreSeenByTheCaller) {
  Context ctx(Backend::kCpu, 4);
  std::vector<int64_t> values(10000);
  for (int round = 1; round < 50; ++round) {
    parallel_for(ctx, 10000, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] += round;
    });
  }
  for (int64_t v : values) ASSERT_EQ(v, 49 * 50 / 2);
}

/// More than threads take at a time, and not a multiple of it; what lies behind is left alone.
TEST(ThreadPool, ZeroesAllOfAViewAndNoMore) {
  Context ctx(Backend::kCpu, 2);
  constexpr int64_t kCount = (int64_t{9} << 20) + 3;
  const Buffer b(Dtype::kU8, {kCount + 1});
  uint8_t* p = b.view().as<uint8_t>();
  std::fill_n(p, kCount + 1, uint8_t{7});
  fill_zero(ctx, View(p, Dtype::kU8, {kCount}));
  EXPECT_EQ(std::count(p, p + kCount, uint8_t{0}), kCount);
  EXPECT_EQ(p[kCount], 7);
}

}  // namespace
}  // namespace natrix
