#include "core/report/log_line.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "core/report/memory.h"
#include "core/report/units.h"

namespace natrix {
namespace {

TEST(Units, CountsStepByAThousandWithoutEverShowingOne) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(3.14159), "3.14");
  EXPECT_EQ(human_count(812), "812");
  EXPECT_EQ(human_count(999.4), "999");
  EXPECT_EQ(human_count(999.5), "1.0k");
  EXPECT_EQ(human_count(10123), "10.1k");
  EXPECT_EQ(human_count(999949), "999.9k");
  EXPECT_EQ(human_count(999950), "1.0M");
  EXPECT_EQ(human_count(1e9), "1.0G");
  EXPECT_EQ(human_count(-2500), "-2.5k");
  EXPECT_EQ(human_count(NAN), "nan");
}

TEST(Units, BytesStepBy1024) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(1288490189), "1.2 GiB");
  EXPECT_EQ(human_bytes(INT64_MAX), "8.0 EiB");
}

TEST(Units, Durations) {
  EXPECT_EQ(human_seconds(0.00042), "0.42 ms");
  EXPECT_EQ(human_seconds(0.00999), "10 ms");
  EXPECT_EQ(human_seconds(0.8124), "812 ms");
  EXPECT_EQ(human_seconds(1.5), "1500 ms");
  EXPECT_EQ(human_seconds(9.99999), "10.0 s");
  EXPECT_EQ(human_seconds(83.21), "83.2 s");
  EXPECT_EQ(human_clock(0), "0:00");
  EXPECT_EQ(human_clock(59.6), "1:00");
  EXPECT_EQ(human_clock(724), "12:04");
  EXPECT_EQ(human_clock(3599.6), "1:00:00");
  EXPECT_EQ(human_clock(3723), "1:02:03");
  EXPECT_EQ(human_clock(187384), "52:03:04");
  for (const double none : {-1.0, double{NAN}, double{INFINITY}}) EXPECT_EQ(human_clock(none), "?");
}

TEST(Memory, ResidentMemoryFollowsWhatIsTouched) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  const int64_t before = resident_bytes();
  ASSERT_GT(before, 0);
  // mmap and not malloc: what is freed must go back to the system at once, whatever the allocator.
  const auto size = static_cast<size_t>(64 * kMiB);
  void* touched = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(touched, MAP_FAILED);
  std::memset(touched, 1, size);
  EXPECT_GT(resident_bytes(), before + 60 * kMiB);
  ::munmap(touched, size);
  EXPECT_LT(resident_bytes(), before + 32 * kMiB);
  EXPECT_GT(peak_resident_bytes(), before + 60 * kMiB);
}

TEST(OutlierScore, CountsDeviationsFromTheValuesBefore) {
  OutlierScore score;
  for (size_t i = 0; i < OutlierScore::kFewest; ++i) EXPECT_FALSE(score.update(i % 2 == 0 ? 1 : 3));
  EXPECT_DOUBLE_EQ(score.update(5).value(), 3);  // mean 2, deviation 1
}

TEST(OutlierScore, ForgetsWhatLeftTheWindow) {
  OutlierScore score;
  score.update(1e9);
  for (size_t i = 0; i < OutlierScore::kWindow; ++i) score.update(i % 2 == 0 ? 1 : 3);
  EXPECT_DOUBLE_EQ(score.update(0).value(), -2);
}

TEST(OutlierScore, IsSilentWhereItHasNothingToSay) {
  OutlierScore score;
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(score.update(0.1)) << "values all alike";
  EXPECT_FALSE(score.update(NAN));
  EXPECT_FALSE(score.update(INFINITY));
  EXPECT_FALSE(score.update(8)) << "the window still holds one value";
  EXPECT_TRUE(score.update(8));
}

const StepMetrics kStep{.step = 120,
                        .tokens = 983040,
                        .loss = 2.05134,
                        .grad_norm = 0.712,
                        .lr = 2.94e-4,
                        .tokens_per_second = 10123,
                        .seconds = 0.8121,
                        .memory_bytes = 1288490189};

TEST(LogLine, ReadsAsDocumented) {
  StepMetrics m = kStep;
  m.expert_load = {{0.5, 0.5}, {1, 0}};
  EXPECT_EQ(log_line(m, {.loss = 0.123, .grad_norm = -0.301}, 1000, 724),
            "step 120/1000 | loss 2.0513 (+0.12z) | norm 0.71 (-0.30z) | lr 2.9e-04 | 812 ms | 10.1k tok/s | "
            "mem 1.2 GiB "
            "| experts 0.50 | eta 12:04");
}

TEST(LogLine, LeavesOutWhatIsNotKnown) {
  EXPECT_EQ(log_line(kStep, {}, 1000, {}),
            "step 120/1000 | loss 2.0513 | norm 0.71 | lr 2.9e-04 | 812 ms | 10.1k tok/s | mem 1.2 GiB");
}

TEST(LogLine, ShowsBrokenAndTinyNumbers) {
  StepMetrics m = kStep;
  m.loss = NAN;
  m.grad_norm = 0.0031;
  const std::string line = log_line(m, {}, 1000, {});
  EXPECT_NE(line.find("loss nan | norm 3.1e-03 |"), std::string::npos) << line;
}

}  // namespace
}  // namespace natrix
