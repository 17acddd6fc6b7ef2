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

std::string hint(const ConvCase& c, const Random& random) {
  return c.size.to_string() + ", seed " + std::to_string(random.seed());
}

void expect_reference(Context& ctx, const ConvCase& c, const std::string& hint) {
  Context reference(Backend::kReference);
  const ConvCase exact = c.as(Dtype::kF64);
  ConvCase large = c.as(Dtype::kF64);  // with nothing to cancel
  for (auto& [name, buffer] : large.in) buffer = absolute(buffer.view());
  const auto allowed = [&](const std::string& name) { return tolerance(name, c.size); };
  expect_close(run_forward(ctx, c), run_forward(reference, exact), run_forward(reference, large), allowed,
               hint);
  expect_close(run_backward(ctx, c), run_backward(reference, exact), run_backward(reference, large), allowed,
               hint);
}

class ConvTargets : public OnEveryTarget {};
INSTANTIATE_TEST_SUITE_P(Targets, ConvTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(ConvTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend());
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
  Context ctx(backend());
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
    expect_same_bits(Views(run_forward(ctx, c)), Views(forward), hint(c, random));
    expect_same_bits(Views(run_backward(ctx, c)), Views(backward), hint(c, random));
  }
}

/// x is the left half of what in_proj writes.
TEST(ConvCpu, RowsMayBeStrided) {
  Random random;
  Context ctx(Backend::kCpu);
  const ConvCase c = ConvCase::fresh(random, Dtype::kF32, {2, 70, 67, 4});
  Buffers out = c.outputs(), gradients = c.gradients();

  std::map<std::string, StridedCopy> wide_in, wide_out;
  Views in(c.in), to(out), dto(gradients);
  for (const char* name : {"x", "dy", "tail_in", "dtail_out"}) {
    in.put(name, wide_in.emplace(name, StridedCopy(c[name])).first->second.view());
  }
  to.put("y", wide_out.emplace("y", StridedCopy(c["x"])).first->second.view());
  to.put("tail_out", wide_out.emplace("tail_out", StridedCopy(c["tail_in"])).first->second.view());
  for (const char* name : {"x", "tail_in"}) {
    dto.put(name, wide_out.emplace(name, StridedCopy(c[name])).first->second.view());
  }
  conv_silu_forward(ctx, conv_forward_args(in, c.doc_start.view(), to));
  conv_silu_backward(ctx, conv_backward_args(in, c.doc_start.view(), dto));

  expect_same_bits(to, Views(run_forward(ctx, c)), hint(c, random));
  expect_same_bits(dto, Views(run_backward(ctx, c)), hint(c, random));
  for (const auto& [name, copy] : wide_out) EXPECT_TRUE(copy.padding_untouched()) << name;
}

TEST(ConvCpu, ParameterGradientsAreAddedTo) {
  Random random;
  Context ctx(Backend::kCpu);
  const ConvCase c = ConvCase::fresh(random, Dtype::kF32, {2, 9, 5, 3});
  const Buffers from_zero = run_backward(ctx, c), from_hundred = run_backward(ctx, c, 100);
  for (const char* name : {"weight", "bias"}) {
    const View zero = from_zero.at(name).view(), hundred = from_hundred.at(name).view();
    for (int64_t i = 0; i < zero.count(); ++i) {
      EXPECT_EQ(hundred.as<float>()[i], 100.0f + zero.as<float>()[i]) << name << ", " << hint(c, random);
    }
  }
}

TEST(ConvCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  const ConvCase c = ConvCase::fresh(random, Dtype::kF64, {1, 2, 3, 4});
  EXPECT_THROW(run_forward(ctx, c), ContractError);
}

/// No grid has so many sequences: what CUDA says of it comes with the operation's name and shape.
TEST(ConvCuda, AFailedLaunchNamesOperationAndShape) {
  if (!has_cuda()) GTEST_SKIP() << "no device";
  Context ctx(Backend::kCuda);
  const Buffer x(Dtype::kF32, {70000, 1, 1}), weight(Dtype::kF32, {1, 2}), y(Dtype::kF32, {70000, 1, 1});
  try {
    conv_silu_forward(ctx, {.x = x.view(), .weight = weight.view(), .y = y.view()});
    FAIL();
  } catch (const RunError& e) {
    const std::string said = e.what();
    EXPECT_EQ(said.find("conv_silu_forward of f32[70000, 1, 1]: launch: CUDA: "), 0u) << said;
  }
}

}  // namespace
}  // namespace natrix::test
