// The reference of Mamba-2's recurrence against torch in double (tests/data/kernels), against finite
// differences, and in pieces. ssd_cpu_test.cpp then holds the fast kernels to the reference.
#include "kernels/ssd.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "core/files/safetensors.h"
#include "tests/kernels/ssd_case.h"

namespace natrix::test {
namespace {

/// The files hold Δ, and its gradient. Kernels take what softplus turns into Δ.
class SsdOracle : public ::testing::TestWithParam<const char*> {
 protected:
  Safetensors oracle{std::string(NATRIX_TEST_DATA) + "/kernels/ssd_" + GetParam() + ".safetensors"};

  static Buffer flattened(Dtype dtype, View v) {  // [B, T, a, b] as [B, T, a b]
    return as(dtype, v.reshaped({v.extent(0), v.extent(1), v.extent(2) * v.extent(3)}));
  }

  SsdCase load(Dtype dtype) const {
    const Shape x = oracle.at("in.x").shape, B = oracle.at("in.B").shape;
    SsdCase c{.size = {x[0], x[1], x[2], x[3], B[3], B[2]}};
    for (const char* name : {"x", "B", "C"})
      c.in[name] = flattened(dtype, oracle.at(std::string("in.") + name));
    for (const char* name : {"A_log", "D", "state_in"})
      c.in[name] = as(dtype, oracle.at(std::string("in.") + name));
    const Buffer raw = as(Dtype::kF64, oracle.at("in.dt"));
    for (int64_t i = 0; i < raw.view().count(); ++i) {
      double& step = raw.view().as<double>()[i];
      step = step + std::log(-std::expm1(-step));
    }
    c.in["dt"] = as(dtype, raw.view());
    c.in["dy"] = flattened(dtype, oracle.at("seed.y"));
    c.in["dstate_out"] = as(dtype, oracle.at("seed.state_out"));
    if (oracle.contains("in.doc_start")) c.doc_start = copy_of(oracle.at("in.doc_start"));
    return c;
  }

  /// The oracle's gradient of an operand in the kernel's shape, of dt through softplus.
  Buffer gradient(const std::string& name) const {
    const View v = oracle.at("grad." + name);
    if (name == "x" || name == "B" || name == "C") return flattened(Dtype::kF64, v);
    Buffer g = as(Dtype::kF64, v);
    if (name == "dt") {
      const View step = oracle.at("in.dt");
      for (int64_t i = 0; i < v.count(); ++i) g.view().as<double>()[i] *= -std::expm1(-step.as<double>()[i]);
    }
    return g;
  }

  void expect_agreement(Context& ctx, const SsdCase& c, double tolerance) const {
    const Buffers out = run_forward(ctx, c);
    EXPECT_LE(relative_difference(out.at("y").view(), flattened(Dtype::kF64, oracle.at("out.y")).view()),
              tolerance);
    EXPECT_LE(relative_difference(out.at("state_out").view(), oracle.at("out.state_out")), tolerance);
    for (const auto& [name, got] : run_backward(ctx, c)) {
      EXPECT_LE(relative_difference(got.view(), gradient(name).view()), tolerance) << "d" << name;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Files, SsdOracle, ::testing::Values("small", "docs", "long"));

TEST_P(SsdOracle, ReferenceAgreesInDouble) {
  Context ctx(Backend::kReference);
  expect_agreement(ctx, load(Dtype::kF64), 1e-10);
}

/// All of its sums round, the longest being over tokens and states or channels.
TEST_P(SsdOracle, CpuAgrees) {
  Context ctx(Backend::kCpu);
  const SsdCase c = load(Dtype::kF32);
  expect_agreement(ctx, c,
                   f32_tolerance(c.size.tokens * std::max(c.size.states, c.size.heads * c.size.channels)));
}

TEST(SsdReference, GradientsAreFiniteDifferences) {
  Random random;
  Context ctx(Backend::kReference);
  for (const SsdExtras& extras :
       {SsdExtras{}, SsdExtras{.documents = false, .dt_min = 0.01, .dt_max = 0.5}}) {
    SsdCase c = SsdCase::fresh(random, Dtype::kF64, {2, 11, 4, 3, 5, 2}, extras);
    const auto loss = [&] {
      const Buffers out = run_forward(ctx, c);
      return dot(out.at("y").view(), c["dy"]) + dot(out.at("state_out").view(), c["dstate_out"]);
    };
    for (const auto& [name, gradient] : run_backward(ctx, c)) {
      EXPECT_LE(finite_difference_error(c[name], gradient.view(), loss), 1e-5)
          << name << ", seed " << random.seed();
    }
  }
}

/// One head, one channel, one state, two tokens.
TEST(SsdReference, ByHand) {
  Context ctx(Backend::kReference);
  double x[] = {2, 3}, dt[] = {30, 25}, A_log[] = {std::log(0.01)}, B[] = {0.5, -1}, C[] = {4, 1}, D[] = {10},
         y[2], state[] = {7}, bias[] = {-5};
  SsdForward args{.x = View(x, Dtype::kF64, {1, 2, 1}),
                  .dt = View(dt, Dtype::kF64, {1, 2, 1}),
                  .dt_bias = View(bias, Dtype::kF64, {1}),
                  .A_log = View(A_log, Dtype::kF64, {1}),
                  .B = View(B, Dtype::kF64, {1, 2, 1}),
                  .C = View(C, Dtype::kF64, {1, 2, 1}),
                  .D = View(D, Dtype::kF64, {1}),
                  .dt_max = 24,
                  .state_in = View(state, Dtype::kF64, {1, 1, 1, 1}),
                  .y = View(y, Dtype::kF64, {1, 2, 1}),
                  .state_out = View(state, Dtype::kF64, {1, 1, 1, 1})};
  ssd_forward(ctx, args);  // Δ = 24 (25, limited) and 20 + log(1 + e^−20)
  const double first = std::exp(-0.24) * 7 + 24 * 2 * 0.5, step = 20 + std::log1p(std::exp(-20.0));
  EXPECT_NEAR(y[0], 4 * first + 10 * 2, 1e-12);
  EXPECT_NEAR(state[0], std::exp(-0.01 * step) * first - step * 3, 1e-12);
  EXPECT_NEAR(y[1], state[0] + 10 * 3, 1e-12);
}

TEST(SsdContract, ShapesThatDoNotFitAreRefused) {
  Random random;
  Context ctx(Backend::kCpu);
  const SsdCase c = SsdCase::fresh(random, Dtype::kF32, {1, 3, 4, 2, 5, 2});
  const Buffers out = c.outputs();
  const auto refuses = [&](auto change) {
    SsdForward args = ssd_forward_args(c, Views(c.in), Views(out));
    change(args);
    EXPECT_THROW(ssd_forward(ctx, args), ContractError);
  };
  refuses([](SsdForward& a) { a.groups = 3; });  // 4 heads
  refuses([](SsdForward& a) { a.groups = 4; });  // 10 states
  refuses([](SsdForward& a) { a.dt_min = 2, a.dt_max = 1; });
  refuses([](SsdForward& a) { a.x = a.x.columns(0, 7); });  // 4 heads
  refuses([](SsdForward& a) { a.C = a.C.columns(0, 9); });
  refuses([](SsdForward& a) { a.D = a.A_log.reshaped({4, 1}); });
  refuses([&](SsdForward& a) { a.tile_states = a.x; });
}

/// A dry run checks shapes as any other does, computes nothing, and counts.
TEST(SsdContract, DryRunsCountTheirCost) {
  Random random;
  Context ctx(Context::Dry{Backend::kCpu});
  const SsdCase c = SsdCase::fresh(random, Dtype::kF32, {1, 70, 4, 2, 5, 2});
  const Buffers out = c.outputs();
  SsdForward args = ssd_forward_args(c, Views(c.in), Views(out));
  ssd_forward(ctx, args);
  EXPECT_TRUE(std::isnan(out.at("y").view().as<float>()[0]));
  const Cost& counted = ctx.ledger().of(Work::kProducts);
  EXPECT_EQ(counted.launches, 1);
  EXPECT_EQ(counted.flops, cost(args).flops);
  EXPECT_GE(counted.flops, 4.0 * 70 * 4 * 2 * 5);  // two products with the state
  EXPECT_GE(counted.bytes, bytes_of({args.x, args.B, args.C, args.y}));
  args.groups = 3;
  EXPECT_THROW(ssd_forward(ctx, args), ContractError);
}

}  // namespace
}  // namespace natrix::test
