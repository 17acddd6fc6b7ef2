// The CPU convolution against the reference, on every instruction set of this machine; and the same bits
// whatever the threads are.
#include <gtest/gtest.h>

#include "kernels/conv.h"
#include "tests/kernels/conv_case.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

/// K products end in an output or an input gradient; dweight and dbias sum over all tokens.
double tolerance(const std::string& name, const ConvSizes& s) {
  return f32_tolerance(name == "weight" || name == "bias" ? s.tokens * s.batch : s.taps);
}

void expect_close(const Buffers& got, const Buffers& want, const ConvSizes& size, const std::string& hint) {
  for (const auto& [name, result] : want) {
    EXPECT_LE(relative_difference(got.at(name).view(), result.view()), tolerance(name, size))
        << name << ", " << hint;
  }
}

void expect_same_bits(const Buffers& got, const Buffers& want, const std::string& hint) {
  for (const auto& [name, result] : want)
    EXPECT_TRUE(same_bits(got.at(name).view(), result.view())) << name << ", " << hint;
}

std::string hint(const ConvCase& c, const Random& random) {
  return c.size.to_string() + ", seed " + std::to_string(random.seed());
}

void expect_reference(Context& ctx, const ConvCase& c, const std::string& hint) {
  Context reference(Backend::kReference);
  const ConvCase exact = c.as(Dtype::kF64);
  expect_close(run_forward(ctx, c), run_forward(reference, exact), c.size, hint);
  expect_close(run_backward(ctx, c), run_backward(reference, exact), c.size, hint);
}

class ConvTargets : public OnEveryTarget {};
INSTANTIATE_TEST_SUITE_P(Targets, ConvTargets, ::testing::ValuesIn(targets()), target_name);

TEST_P(ConvTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(Backend::kCpu);
  const std::vector<int64_t>& sizes = awkward_sizes();
  for (int i = 0; i < 60; ++i) {
    const auto pick = [&] {
      return sizes[static_cast<size_t>(random.integer(0, static_cast<int64_t>(sizes.size()) - 1))];
    };
    const ConvSizes size{random.integer(1, 3), pick(), pick(), random.integer(1, 6)};
    const ConvExtras extras{
        .documents = random.integer(0, 1) == 1, .bias = i % 5 != 0, .carries = i % 3 != 0};
    const ConvCase c = ConvCase::fresh(random, Dtype::kF32, size, extras);
    expect_reference(ctx, c, hint(c, random));
  }
}

TEST_P(ConvTargets, AgreesAcrossTimeBlocksAndPanels) {
  Random random;
  Context ctx(Backend::kCpu);
  for (const int64_t taps : {3, 4, 5}) {
    const ConvCase c = ConvCase::fresh(random, Dtype::kF32, {2, 2 * 256 + 1, 512 + 13, taps});
    expect_reference(ctx, c, hint(c, random));
  }
}

TEST(ConvCpu, ThreadsChangeNoBit) {
  Random random;
  const ConvCase c = ConvCase::fresh(random, Dtype::kF32, {3, 600, 70, 4});
  Context one(Backend::kCpu, 1);
  const Buffers forward = run_forward(one, c), backward = run_backward(one, c);
  for (const int threads : {1, 2, 3}) {
    Context ctx(Backend::kCpu, threads);
    expect_same_bits(run_forward(ctx, c), forward, hint(c, random));
    expect_same_bits(run_backward(ctx, c), backward, hint(c, random));
  }
}

TEST(ConvCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  const ConvCase c = ConvCase::fresh(random, Dtype::kF64, {1, 2, 3, 4});
  EXPECT_THROW(run_forward(ctx, c), ContractError);
}

}  // namespace
}  // namespace natrix::test
