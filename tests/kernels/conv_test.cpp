// The reference convolution against torch in double (tests/data/kernels), against finite differences, and
// against itself in pieces. conv_cpu_test.cpp then holds the fast kernels to the reference.
#include "kernels/conv.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "core/files/safetensors.h"
#include "tests/kernels/conv_case.h"
#include "tests/kernels/operands.h"

namespace natrix::test {
namespace {

class ConvOracle : public ::testing::TestWithParam<const char*> {
 protected:
  Safetensors oracle{std::string(NATRIX_TEST_DATA) + "/kernels/conv_" + GetParam() + ".safetensors"};

  ConvCase load(Dtype dtype) const {
    ConvCase c{{}, {}, {}};
    for (const char* name : {"x", "weight", "bias", "tail_in"}) {
      c.in[name] = as(dtype, oracle.at(std::string("in.") + name));
    }
    c.in["dy"] = as(dtype, oracle.at("seed.y"));
    c.in["dtail_out"] = as(dtype, oracle.at("seed.tail_out"));
    if (oracle.contains("in.doc_start")) c.doc_start = copy_of(oracle.at("in.doc_start"));
    const Shape s = c["x"].shape;
    c.size = {s[0], s[1], s[2], c["weight"].extent(1)};
    return c;
  }

  void expect_agreement(Context& ctx, const ConvCase& c, double tolerance) const {
    for (const auto& [name, got] : run_forward(ctx, c)) {
      EXPECT_LE(relative_difference(got.view(), oracle.at("out." + name)), tolerance) << name;
    }
    for (const auto& [name, got] : run_backward(ctx, c)) {
      EXPECT_LE(relative_difference(got.view(), oracle.at("grad." + name)), tolerance) << "d" << name;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Files, ConvOracle, ::testing::Values("small", "one", "docs", "k3"));

TEST_P(ConvOracle, ReferenceAgreesInDouble) {
  Context ctx(Backend::kReference);
  expect_agreement(ctx, load(Dtype::kF64), 1e-10);
}

/// Operands and results round to f32 once each; sums over tokens round nowhere in between.
TEST_P(ConvOracle, ReferenceAgreesInSingle) {
  Context ctx(Backend::kReference);
  expect_agreement(ctx, load(Dtype::kF32), f32_tolerance(1));
}

/// dweight and dbias sum over the tokens of all sequences.
TEST_P(ConvOracle, CpuAgrees) {
  Context ctx(Backend::kCpu);
  const ConvCase c = load(Dtype::kF32);
  expect_agreement(ctx, c, f32_tolerance(std::max(c.size.taps, c.size.tokens * c.size.batch)));
}

TEST(ConvReference, GradientsAreFiniteDifferences) {
  Random random;
  Context ctx(Backend::kReference);
  for (const int64_t taps : {1, 2, 4}) {
    for (const int64_t tokens : {2, 9}) {  // shorter than the tail, and longer
      ConvCase c = ConvCase::fresh(random, Dtype::kF64, {2, tokens, 3, taps});
      const auto loss = [&] {
        const Buffers out = run_forward(ctx, c);
        const double tail = taps > 1 ? dot(out.at("tail_out").view(), c["dtail_out"]) : 0.0;
        return dot(out.at("y").view(), c["dy"]) + tail;
      };
      for (const auto& [name, gradient] : run_backward(ctx, c)) {
        EXPECT_LE(finite_difference_error(c[name], gradient.view(), loss), 1e-6)
            << name << ", " << c.size.to_string() << ", seed " << random.seed();
      }
    }
  }
}

TEST(ConvTail, MaskClearsWhatLiesBeforeTheLastDocument) {
  Context ctx(Backend::kReference);
  const auto masked = [&](std::initializer_list<int> starts) {
    Buffer tail = filled(Dtype::kF32, {1, 3, 1}, 1.0),
           doc_start(Dtype::kU8, {1, static_cast<int64_t>(starts.size())});
    uint8_t* p = doc_start.view().as<uint8_t>();
    for (const int s : starts) *p++ = static_cast<uint8_t>(s);
    mask_conv_tail(ctx, {.tail = tail.view(), .doc_start = doc_start.view()});
    const float* t = tail.view().as<float>();
    return std::vector<float>(t, t + 3);
  };
  using Row = std::vector<float>;
  EXPECT_EQ(masked({1, 0, 0, 0, 0}), (Row{1, 1, 1}));  // the whole tail is of the last document
  EXPECT_EQ(masked({0, 0, 0, 0, 0}), (Row{1, 1, 1}));
  EXPECT_EQ(masked({1, 0, 1, 0, 0}), (Row{1, 1, 1}));
  EXPECT_EQ(masked({1, 0, 0, 1, 0}), (Row{0, 1, 1}));
  EXPECT_EQ(masked({0, 0, 0, 1, 1}), (Row{0, 0, 1}));
  EXPECT_EQ(masked({1, 0}), (Row{0, 1, 1}));  // the first row came from the segment before
  EXPECT_EQ(masked({0, 0}), (Row{1, 1, 1}));
  EXPECT_EQ(masked({1}), (Row{0, 0, 1}));
}

}  // namespace
}  // namespace natrix::test
