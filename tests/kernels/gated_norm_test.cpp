// The gated norm: the reference against its formula and finite differences, the CPU's against the reference on
// every instruction set of this machine, and against itself under aliasing, strides and threads.
#include "kernels/gated_norm.h"

#include <cmath>
#include <gtest/gtest.h>

#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

constexpr GatedNorm kOrders[] = {GatedNorm::kGateThenNorm, GatedNorm::kNormThenGate, GatedNorm::kGateOnly};

/// x, z, dy and, with a norm, weight.
struct GatedCase {
  GatedNorm order;
  int64_t rows, cols, groups;
  Buffers in;
  double eps = 1e-5;

  static GatedCase fresh(Random& random, Dtype dtype, GatedNorm order, int64_t rows, int64_t width,
                         int64_t groups) {
    GatedCase c{order, rows, width * groups, groups, {}};
    for (const char* name : {"x", "z", "dy"}) c.in[name] = random.normal(dtype, {rows, c.cols});
    if (order != GatedNorm::kGateOnly) c.in["weight"] = random.normal(dtype, {c.cols});
    return c;
  }
  GatedCase as(Dtype dtype) const { return {order, rows, cols, groups, test::as(dtype, in), eps}; }
  View operator[](const std::string& name) const { return Views(in)[name]; }
  Dtype dtype() const { return (*this)["x"].dtype; }
  bool norm() const { return order != GatedNorm::kGateOnly; }
  std::string hint(const Random& random) const {
    return "order " + std::to_string(static_cast<int>(order)) + ", " + std::to_string(rows) + " rows of " +
           std::to_string(groups) + " groups, " + std::to_string(cols) + " columns, seed " +
           std::to_string(random.seed());
  }
};

GatedNormForward forward_args(const GatedCase& c, const Views& in, const Views& out) {
  return {.x = in["x"],
          .z = in["z"],
          .weight = in["weight"],
          .order = c.order,
          .groups = c.groups,
          .y = out["y"],
          .inv_rms = out["inv_rms"],
          .eps = c.eps};
}

GatedNormBackward backward_args(const GatedCase& c, const Views& in, View inv_rms, const Views& out) {
  return {.x = in["x"],
          .z = in["z"],
          .weight = in["weight"],
          .order = c.order,
          .groups = c.groups,
          .inv_rms = inv_rms,
          .dy = in["dy"],
          .dx = out["x"],
          .dz = out["z"],
          .dweight = out["weight"]};
}

Buffers run_forward(Context& ctx, const GatedCase& c) {
  Buffers out;
  out["y"] = poisoned(c.dtype(), {c.rows, c.cols});
  if (c.norm()) out["inv_rms"] = poisoned(c.dtype(), {c.rows, c.groups});
  gated_norm_forward(ctx, forward_args(c, Views(c.in), Views(out)));
  return out;
}

/// Gradients go by their operand's name; the weight's starts at `before`.
Buffers run_backward(Context& ctx, const GatedCase& c, double before = 0) {
  const Buffers forward = run_forward(ctx, c);
  Buffers out;
  for (const char* name : {"x", "z"}) out[name] = poisoned(c.dtype(), {c.rows, c.cols});
  if (c.norm()) out["weight"] = filled(c.dtype(), {c.cols}, before);
  gated_norm_backward(ctx, backward_args(c, Views(c.in), Views(forward)["inv_rms"], Views(out)));
  return out;
}

TEST(GatedNormReference, ByHand) {
  Context ctx(Backend::kReference);
  double x[] = {3, 4, 1, 2}, z[] = {1, 2, -1, 0.5}, weight[] = {2, -1, 3, 1}, y[4], inv_rms[2];
  const auto silu = [](double v) { return v / (1 + std::exp(-v)); };
  GatedNormForward args{.x = View(x, Dtype::kF64, {1, 4}),
                        .z = View(z, Dtype::kF64, {1, 4}),
                        .weight = View(weight, Dtype::kF64, {4}),
                        .groups = 2,
                        .y = View(y, Dtype::kF64, {1, 4}),
                        .inv_rms = View(inv_rms, Dtype::kF64, {1, 2}),
                        .eps = 0.5};
  gated_norm_forward(ctx, args);
  const double s0 = 3 * silu(1), s1 = 4 * silu(2), rms = std::sqrt((s0 * s0 + s1 * s1) / 2 + 0.5);
  EXPECT_DOUBLE_EQ(y[0], s0 / rms * 2);
  EXPECT_DOUBLE_EQ(y[1], -s1 / rms);
  args.order = GatedNorm::kNormThenGate;
  gated_norm_forward(ctx, args);
  EXPECT_DOUBLE_EQ(y[0], 3 / std::sqrt(25.0 / 2 + 0.5) * 2 * silu(1));
  EXPECT_DOUBLE_EQ(y[2], 1 / std::sqrt(5.0 / 2 + 0.5) * 3 * silu(-1));
  args.order = GatedNorm::kGateOnly;
  args.weight = args.inv_rms = {};
  gated_norm_forward(ctx, args);
  EXPECT_DOUBLE_EQ(y[3], 2 * silu(0.5));
}

TEST(GatedNormReference, GradientsAreFiniteDifferences) {
  Random random;
  Context ctx(Backend::kReference);
  for (const GatedNorm order : kOrders) {
    for (const int64_t width : {1, 2, 7}) {
      GatedCase c = GatedCase::fresh(random, Dtype::kF64, order, 3, width, 2);
      c.eps = 0.1;  // with a small one, dx of a single channel is nearly nothing
      c.in["x"] = random.uniform(Dtype::kF64, {3, c.cols}, 1.0, 3.0);  // near a row of zeros no step is small
      c.in["z"] = random.uniform(Dtype::kF64, {3, c.cols}, 0.5, 2.0);
      const auto loss = [&] { return dot(run_forward(ctx, c).at("y").view(), c["dy"]); };
      for (const auto& [name, gradient] : run_backward(ctx, c))
        EXPECT_LE(finite_difference_error(c[name], gradient.view(), loss), 1e-6)
            << name << ", " << c.hint(random);
    }
  }
}

class GatedNormTargets : public OnEveryTarget {};
INSTANTIATE_TEST_SUITE_P(Targets, GatedNormTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(GatedNormTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  for (const GatedNorm order : kOrders) {
    for (const int64_t width : awkward_sizes()) {
      for (const int64_t groups : {1, 3}) {
        const GatedCase c = GatedCase::fresh(random, Dtype::kF32, order, 5, width, groups);
        const GatedCase exact = c.as(Dtype::kF64);
        const Buffers out = run_forward(ctx, c), want = run_forward(reference, exact);
        for (const auto& [name, got] : out)
          EXPECT_LE(relative_difference(got.view(), want.at(name).view()), f32_tolerance(width))
              << name << ", " << c.hint(random);
        // dx of one channel is what is left of 1 − 1: it counts against what cancels.
        Buffers gradients = run_backward(reference, exact), scale;
        for (auto& [name, gradient] : gradients) {
          scale[name] = absolute(gradient.view());
          const double least = width == 1 ? 100.0 : 0.0;
          for (int64_t i = 0; i < gradient.view().count(); ++i) scale[name].view().as<double>()[i] += least;
        }
        expect_close(
            run_backward(ctx, c), gradients, scale,
            [&](const std::string&) { return f32_tolerance(width, 32); }, c.hint(random));
      }
    }
  }
}

/// y may replace x, dx may replace dy; x, z and y are columns of wider matrices; threads change no bit.
TEST(GatedNormCpu, AliasesStridesAndThreadsChangeNoBit) {
  Random random;
  Context one(Backend::kCpu, 1), three(Backend::kCpu, 3);
  for (const GatedNorm order : kOrders) {
    const GatedCase c = GatedCase::fresh(random, Dtype::kF32, order, 700, 33, 2);
    const Buffers forward = run_forward(one, c), backward = run_backward(one, c);
    expect_same_bits(Views(run_forward(three, c)), Views(forward), c.hint(random));
    expect_same_bits(Views(run_backward(three, c)), Views(backward), c.hint(random));

    const StridedCopy x(c["x"]), z(c["z"]), dy(c["dy"]), dz(c["z"]);
    Views in(c.in), out(forward);
    in.put("x", x.view());
    in.put("z", z.view());
    in.put("dy", dy.view());
    Buffers gradients;
    if (c.norm()) gradients["weight"] = filled(Dtype::kF32, {c.cols}, 0);
    Views to(gradients);
    to.put("x", dy.view());
    to.put("z", dz.view());
    gated_norm_backward(one, backward_args(c, in, Views(forward)["inv_rms"], to));
    expect_same_bits(to, Views(backward), c.hint(random));
    out.put("y", x.view());
    gated_norm_forward(one, forward_args(c, in, out));
    EXPECT_TRUE(same_bits(x.view(), forward.at("y").view())) << c.hint(random);
    for (const StridedCopy* copy : {&x, &z, &dy, &dz}) EXPECT_TRUE(copy->padding_untouched());
  }
}

TEST(GatedNormCpu, TheWeightsGradientIsAddedTo) {
  Random random;
  Context ctx(Backend::kCpu);
  const GatedCase c = GatedCase::fresh(random, Dtype::kF32, GatedNorm::kGateThenNorm, 4, 5, 2);
  const Buffers zero = run_backward(ctx, c), hundred = run_backward(ctx, c, 100);
  for (int64_t i = 0; i < c.cols; ++i)
    EXPECT_EQ(hundred.at("weight").view().as<float>()[i], 100.0f + zero.at("weight").view().as<float>()[i]);
}

TEST(GatedNormContract, RefusesWhatDoesNotFit) {
  Random random;
  Context ctx(Backend::kCpu);
  const GatedCase c = GatedCase::fresh(random, Dtype::kF32, GatedNorm::kGateThenNorm, 4, 5, 2);
  const Buffers out = run_forward(ctx, c);
  const auto refuses = [&](auto change) {
    GatedNormForward args = forward_args(c, Views(c.in), Views(out));
    change(args);
    EXPECT_THROW(gated_norm_forward(ctx, args), ContractError);
  };
  refuses([](GatedNormForward& a) { a.groups = 3; });
  refuses([](GatedNormForward& a) { a.weight = {}; });
  refuses([](GatedNormForward& a) { a.order = GatedNorm::kGateOnly; });
  refuses([](GatedNormForward& a) { a.z = a.z.columns(0, 9); });
  Context dry(Context::Dry{Backend::kCpu});
  const GatedNormForward args = forward_args(c, Views(c.in), Views(out));
  gated_norm_forward(dry, args);
  EXPECT_EQ(dry.ledger().of(Work::kElements).bytes, cost(args).bytes);
  EXPECT_EQ(dry.ledger().of(Work::kElements).exps, 40);
  Context dry_cuda(Context::Dry{Backend::kCuda});
  gated_norm_forward(dry_cuda, args);  // a plan counts the kernel as if a GPU had it
  EXPECT_EQ(dry_cuda.ledger().of(Work::kElements).bytes, cost(args).bytes);
}

}  // namespace
}  // namespace natrix::test
