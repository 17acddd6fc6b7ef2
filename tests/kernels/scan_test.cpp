// The reference scan against torch in double (tests/data/kernels), against finite differences, and against
// itself in pieces. scan_cpu_test.cpp then holds the fast kernels to the reference.
#include "kernels/scan.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "core/files/safetensors.h"
#include "tests/kernels/scan_case.h"

namespace natrix::test {
namespace {

class ScanOracle : public ::testing::TestWithParam<const char*> {
 protected:
  Safetensors oracle{std::string(NATRIX_TEST_DATA) + "/kernels/scan_" + GetParam() + ".safetensors"};

  ScanCase load(Dtype dtype) const {
    ScanCase c{{}, {}, {}};
    for (const char* name : {"x", "dt", "A_log", "B", "C", "D", "state_in"}) {
      c.in[name] = as(dtype, oracle.at(std::string("in.") + name));
    }
    c.in["dy"] = as(dtype, oracle.at("seed.y"));
    c.in["dstate_out"] = as(dtype, oracle.at("seed.state_out"));
    if (oracle.contains("in.doc_start")) c.doc_start = copy_of(oracle.at("in.doc_start"));
    const Shape s = c["x"].shape;
    c.size = {s[0], s[1], s[2], c["A_log"].extent(1)};
    return c;
  }

  void expect_agreement(Context& ctx, const ScanCase& c, double tolerance) const {
    for (const auto& [name, got] : run_forward(ctx, c)) {
      EXPECT_LE(relative_difference(got.view(), oracle.at("out." + name)), tolerance) << name;
    }
    for (const auto& [name, got] : run_backward(ctx, c)) {
      EXPECT_LE(relative_difference(got.view(), oracle.at("grad." + name)), tolerance) << "d" << name;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Files, ScanOracle, ::testing::Values("small", "one", "docs", "long"));

TEST_P(ScanOracle, ReferenceAgreesInDouble) {
  Context ctx(Backend::kReference);
  expect_agreement(ctx, load(Dtype::kF64), 1e-10);
}

/// Operands and results round to f32 once each; what sums over all tokens and channels rounds nowhere in
/// between.
TEST_P(ScanOracle, ReferenceAgreesInSingle) {
  Context ctx(Backend::kReference);
  expect_agreement(ctx, load(Dtype::kF32), f32_tolerance(1));
}

/// All of its sums round, the longest being over tokens and states or channels.
TEST_P(ScanOracle, CpuAgrees) {
  Context ctx(Backend::kCpu);
  const ScanCase c = load(Dtype::kF32);
  expect_agreement(ctx, c, f32_tolerance(c.size.tokens * std::max(c.size.states, c.size.channels)));
}

TEST(ScanReference, GradientsAreFiniteDifferences) {
  Random random;
  Context ctx(Backend::kReference);
  ScanCase c = ScanCase::fresh(random, Dtype::kF64, {2, 11, 5, 3});
  const auto loss = [&] {
    const Buffers out = run_forward(ctx, c);
    return dot(out.at("y").view(), c["dy"]) + dot(out.at("state_out").view(), c["dstate_out"]);
  };
  for (const auto& [name, gradient] : run_backward(ctx, c)) {
    EXPECT_LE(finite_difference_error(c[name], gradient.view(), loss), 1e-6)
        << name << ", seed " << random.seed();
  }
}

}  // namespace
}  // namespace natrix::test
