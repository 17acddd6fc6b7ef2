// The CPU scan against the reference, on every instruction set of this machine; and what it promises beyond
// that: the same bits whatever the threads, the tiles and the segments are.
#include <gtest/gtest.h>

#include "kernels/scan.h"
#include "tests/kernels/scan_case.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

/// Rounding errors add up along the sums that end in a result: over tokens and states for what belongs to one
/// channel, over tokens and channels for dB and dC, over tokens and sequences for dA_log and dD.
double tolerance(const std::string& name, const ScanSizes& s) {
  if (name == "B" || name == "C") return f32_tolerance(s.tokens * s.channels);
  if (name == "A_log" || name == "D") return f32_tolerance(s.tokens * s.batch * s.states);
  return f32_tolerance(s.tokens * s.states);
}

void expect_close(const Buffers& got, const Buffers& want, const ScanSizes& size, const std::string& hint) {
  for (const auto& [name, result] : want) {
    EXPECT_LE(relative_difference(got.at(name).view(), result.view()), tolerance(name, size))
        << name << ", " << hint;
  }
}

void expect_same_bits(const Buffers& got, const Buffers& want, const std::string& hint) {
  for (const auto& [name, result] : want)
    EXPECT_TRUE(same_bits(got.at(name).view(), result.view())) << name << ", " << hint;
}

std::string hint(const ScanCase& c, const Random& random) {
  return c.size.to_string() + ", seed " + std::to_string(random.seed());
}

/// The reference's results for the same operands, rounded to f32, in double.
Buffers reference_forward(const ScanCase& c) {
  Context ctx(Backend::kReference);
  return run_forward(ctx, c.as(Dtype::kF64));
}
Buffers reference_backward(const ScanCase& c) {
  Context ctx(Backend::kReference);
  return run_backward(ctx, c.as(Dtype::kF64));
}

ScanSizes awkward_scan(Random& random) {
  const auto pick = [&](const std::vector<int64_t>& from) {
    return from[static_cast<size_t>(random.integer(0, static_cast<int64_t>(from.size()) - 1))];
  };
  return {random.integer(1, 3), pick({1, 2, 7, 63, 64, 65, 67, 130}),
          pick({1, 3, 8, 13, 17, 31, 33, 63, 64, 67, 130}), pick({1, 2, 3, 4, 5, 8, 13, 16, 17})};
}

class ScanTargets : public OnEveryTarget {};
INSTANTIATE_TEST_SUITE_P(Targets, ScanTargets, ::testing::ValuesIn(targets()), target_name);

TEST_P(ScanTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(Backend::kCpu);
  for (int i = 0; i < 40; ++i) {
    const ScanExtras extras{.documents = random.integer(0, 1) == 1, .D = i % 5 != 0, .carries = i % 3 != 0};
    const ScanCase c = ScanCase::fresh(random, Dtype::kF32, awkward_scan(random), extras);
    expect_close(run_forward(ctx, c), reference_forward(c), c.size, hint(c, random));
    expect_close(run_backward(ctx, c), reference_backward(c), c.size, hint(c, random));
  }
}

TEST_P(ScanTargets, AgreesBeyondOneStretch) {
  Random random;
  Context ctx(Backend::kCpu);
  const ScanCase c = ScanCase::fresh(random, Dtype::kF32, {2, 2 * 2048 + 77, 5, 6});
  expect_close(run_forward(ctx, c), reference_forward(c), c.size, hint(c, random));
  expect_close(run_backward(ctx, c), reference_backward(c), c.size, hint(c, random));
}

TEST(ScanCpu, ThreadsChangeNoBit) {
  Random random;
  const ScanCase c = ScanCase::fresh(random, Dtype::kF32, {3, 150, 200, 6});
  Context one(Backend::kCpu, 1);
  const Buffers forward = run_forward(one, c), backward = run_backward(one, c);
  for (const int threads : {1, 2, 3}) {
    Context ctx(Backend::kCpu, threads);
    expect_same_bits(run_forward(ctx, c), forward, hint(c, random));
    expect_same_bits(run_backward(ctx, c), backward, hint(c, random));
  }
}

TEST(ScanCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  const ScanCase c = ScanCase::fresh(random, Dtype::kF64, {1, 2, 3, 4});
  EXPECT_THROW(run_forward(ctx, c), ContractError);
}

}  // namespace
}  // namespace natrix::test
