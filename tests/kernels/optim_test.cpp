// AdamW and the squared norm: the reference against the means that its moments stand for, the CPU's against
// the reference on every instruction set of this machine, and both on zero gradients, clipping and decay.
#include "kernels/optim.h"

#include <cmath>
#include <gtest/gtest.h>

#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

/// Extents that break vectors, and blocks of 16384 elements.
std::vector<int64_t> counts() {
  std::vector<int64_t> all = awkward_sizes();
  for (const int64_t more : {0, 16383, 16385, 50001}) all.push_back(more);
  return all;
}

AdamW settings() {
  AdamW a;
  a.lr = 0.1, a.weight_decay = 0.3, a.grad_scale = 0.7, a.step = 3;
  a.eps = 0.01;  // large enough to see which side of the correction it is on
  return a;
}

/// w, g, m and v as they are in the middle of a training; v is far enough from zero for m / √v to be tame.
Buffers fresh(Random& random, Dtype dtype, int64_t count) {
  Buffers in;
  for (const char* name : {"w", "g", "m"}) in[name] = random.normal(dtype, {count});
  in["v"] = random.uniform(dtype, {count}, 0.1, 2.0);
  return in;
}

/// The step with `a`'s scalars: w, m and v afterwards, g as it was.
Buffers run(Context& ctx, const Buffers& in, AdamW a) {
  Buffers out;
  for (const auto& [name, buffer] : in) out[name] = copy_of(buffer.view());
  a.w = out["w"].view(), a.g = out["g"].view(), a.m = out["m"].view(), a.v = out["v"].view();
  adamw(ctx, a);
  return out;
}

double norm_of(Context& ctx, View x) {
  double sum = 7;  // to be overwritten
  squared_norm(ctx, {.x = x, .sum = View(&sum, Dtype::kF64, {1})});
  return sum;
}

std::string hint(const Buffers& in, const Random& random) {
  return in.at("w").view().to_string() + ", seed " + std::to_string(random.seed());
}

/// With m and v at zero, a first step goes lr against the gradient's sign, whatever its size.
TEST(AdamWReference, TheFirstStepIsASign) {
  Context ctx(Backend::kReference);
  double w[] = {1, 1, 1}, g[] = {1e-3, -5, 1e3}, m[3] = {}, v[3] = {};
  const auto view = [](double* p) { return View(p, Dtype::kF64, {3}); };
  adamw(ctx, {.w = view(w),
              .g = view(g),
              .m = view(m),
              .v = view(v),
              .lr = 0.01,
              .eps = 0,
              .weight_decay = 0.5,
              .grad_scale = 2});
  EXPECT_NEAR(w[0], 1 - 0.01 * (1 + 0.5), 1e-14);
  EXPECT_NEAR(w[1], 1 - 0.01 * (-1 + 0.5), 1e-14);
  EXPECT_NEAR(w[2], 1 - 0.01 * (1 + 0.5), 1e-14);
  EXPECT_NEAR(m[1], 0.1 * -10, 1e-15);
  EXPECT_NEAR(v[1], 0.05 * 100, 1e-14);
}

/// m / (1 − β1^step) is the mean of all gradients so far with weights β1^age, and v likewise of their
/// squares.
TEST(AdamWReference, CorrectedMomentsAreWeightedMeans) {
  Random random;
  Context ctx(Backend::kReference);
  AdamW a = settings();
  double w = 0.5, m = 0, v = 0, w_expected = w;
  std::vector<double> gradients;
  for (a.step = 1; a.step <= 12; ++a.step) {
    double g = random.normal();
    gradients.push_back(g * a.grad_scale);
    double mean = 0, mean_weight = 0, square = 0, square_weight = 0;
    for (size_t i = 0; i < gradients.size(); ++i) {
      const auto age = static_cast<double>(gradients.size() - 1 - i);
      mean += std::pow(a.beta1, age) * gradients[i];
      mean_weight += std::pow(a.beta1, age);
      square += std::pow(a.beta2, age) * gradients[i] * gradients[i];
      square_weight += std::pow(a.beta2, age);
    }
    const double direction = (mean / mean_weight) / (std::sqrt(square / square_weight) + a.eps);
    w_expected = (1 - a.lr * a.weight_decay) * w_expected - a.lr * direction;
    const auto one = [](double* p) { return View(p, Dtype::kF64, {1}); };
    a.w = one(&w), a.g = one(&g), a.m = one(&m), a.v = one(&v);
    adamw(ctx, a);
    EXPECT_NEAR(w, w_expected, 1e-12) << "step " << a.step << ", seed " << random.seed();
  }
}

using OptimTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, OptimTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(OptimTargets, AdamWAgreesWithTheReference) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  for (const int64_t count : counts()) {
    const Buffers in = fresh(random, Dtype::kF32, count);
    for (const int64_t step : {1, 2, 100000}) {
      AdamW a = settings();
      a.step = step;
      const Buffers got = run(ctx, in, a), want = run(reference, as(Dtype::kF64, in), a);
      // An element is a sum of two terms, each of a few roundings; nothing is summed over elements. w and m
      // may cancel, so their scale is that of the terms.
      const double scale_w =
          largest(in.at("w").view()) + a.lr * largest(want.at("m").view()) / (1 - std::pow(0.9, step)) + 1;
      const double scale_m = largest(in.at("m").view()) + largest(in.at("g").view());
      for (int64_t i = 0; i < count; ++i) {
        const auto near = [&](const char* name, double scale) {
          EXPECT_NEAR(got.at(name).view().as<float>()[i], want.at(name).view().as<double>()[i],
                      f32_tolerance(2) * scale)
              << name << ", step " << step << ", " << hint(in, random);
        };
        near("w", scale_w);
        near("m", scale_m);
        near("v", want.at("v").view().as<double>()[i]);  // of positive terms
      }
    }
  }
}

TEST_P(OptimTargets, SquaredNormAgreesWithTheReference) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  for (const int64_t count : counts()) {
    const Buffer x = random.normal(Dtype::kF32, {count}, 1e19);  // squares beyond the end of f32
    const double want = norm_of(reference, x.view());
    EXPECT_NEAR(norm_of(ctx, x.view()), want, 1e-13 * want) << count << ", seed " << random.seed();
  }
}

class Optim : public ::testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, Optim, ::testing::ValuesIn(backends()),
                         [](const auto& backend) { return name_of(backend.param); });

/// A row of an embedding that no token has used: 0 / (0 + eps), not 0 / 0.
TEST_P(Optim, WithZeroGradientsOnlyDecayActs) {
  Random random;
  Context ctx(GetParam());
  Buffers in = fresh(random, Dtype::kF32, 37);
  for (const char* name : {"g", "m", "v"}) in[name] = filled(Dtype::kF32, {37}, 0.0);
  AdamW a = settings();
  a.weight_decay = 0;
  expect_same_bits(Views(run(ctx, in, a)), Views(in), hint(in, random));
  a.weight_decay = 0.5;
  const Buffers decayed = run(ctx, in, a);
  for (int64_t i = 0; i < 37; ++i) {
    const auto w = static_cast<double>(in.at("w").view().as<float>()[i]);
    EXPECT_NEAR(decayed.at("w").view().as<float>()[i], w * (1 - 0.1 * 0.5), f32_tolerance(1) * std::fabs(w));
  }
}

/// That is what makes it AdamW and not Adam with an L2 penalty.
TEST_P(Optim, DecayDoesNotReachTheMoments) {
  Random random;
  Context ctx(GetParam());
  const Buffers in = fresh(random, Dtype::kF32, 37);
  AdamW a = settings();
  const Buffers with = run(ctx, in, a);
  a.weight_decay = 0;
  const Buffers without = run(ctx, in, a);
  EXPECT_TRUE(same_bits(with.at("m").view(), without.at("m").view())) << hint(in, random);
  EXPECT_TRUE(same_bits(with.at("v").view(), without.at("v").view())) << hint(in, random);
  EXPECT_FALSE(same_bits(with.at("w").view(), without.at("w").view())) << hint(in, random);
}

/// Halves are exact, so clipping by a half is a step with gradients of half the size, to the bit.
TEST_P(Optim, ClippingScalesTheGradient) {
  Random random;
  Context ctx(GetParam());
  Buffers in = fresh(random, Dtype::kF32, 37);
  AdamW a = settings();
  a.grad_scale = 0.5;
  Buffers clipped = run(ctx, in, a);
  for (int64_t i = 0; i < 37; ++i) in["g"].view().as<float>()[i] *= 0.5f;
  a.grad_scale = 1;
  clipped["g"] = copy_of(in["g"].view());
  expect_same_bits(Views(clipped), Views(run(ctx, in, a)), hint(in, random));
}

/// A rank that holds a part of the optimizer's state computes what one that holds all of it does.
TEST_P(Optim, PartsAreTheWhole) {
  Random random;
  Context ctx(GetParam());
  const Buffers in = fresh(random, Dtype::kF32, 101);
  const Buffers want = run(ctx, in, settings());
  Buffers parts;
  for (const auto& [name, buffer] : in) parts[name] = copy_of(buffer.view());
  const int64_t cut = random.integer(1, 100);
  for (const auto& [begin, count] : {std::pair{int64_t{0}, cut}, std::pair{cut, 101 - cut}}) {
    const auto part = [&, first = begin, n = count](const char* name) {
      return View(parts[name].view().as<float>() + first, Dtype::kF32, {n});
    };
    AdamW a = settings();
    a.w = part("w"), a.g = part("g"), a.m = part("m"), a.v = part("v");
    adamw(ctx, a);
  }
  expect_same_bits(Views(parts), Views(want), "cut at " + std::to_string(cut) + ", " + hint(in, random));
}

TEST_P(Optim, RefusesWhatBreaksItsContract) {
  Context ctx(GetParam());
  const Buffer x(Dtype::kF32, {4}), longer(Dtype::kF32, {5}), wide(Dtype::kF32, {3, 6});
  const AdamW good{.w = x.view(), .g = x.view(), .m = x.view(), .v = x.view()};
  for (const auto operand : {&AdamW::g, &AdamW::m, &AdamW::v}) {
    AdamW bad = good;
    bad.*operand = longer.view();
    EXPECT_THROW(adamw(ctx, bad), ContractError);
  }
  AdamW bad = good;
  bad.step = 0;
  EXPECT_THROW(adamw(ctx, bad), ContractError);
  double sum = 0;
  EXPECT_THROW(squared_norm(ctx, {.x = x.view()}), ContractError);
  EXPECT_THROW(squared_norm(ctx, {.x = wide.view().columns(1, 4), .sum = View(&sum, Dtype::kF64, {1})}),
               ContractError);
}

TEST(OptimCpu, ThreadsChangeNoBit) {
  Random random;
  const Buffers in = fresh(random, Dtype::kF32, 100003);  // seven blocks
  Context one(Backend::kCpu, 1);
  const Buffers want = run(one, in, settings());
  const double norm = norm_of(one, in.at("g").view());
  for (const int threads : {2, 3}) {
    Context ctx(Backend::kCpu, threads);
    expect_same_bits(Views(run(ctx, in, settings())), Views(want), hint(in, random));
    EXPECT_EQ(norm_of(ctx, in.at("g").view()), norm) << hint(in, random);
  }
}

TEST(OptimCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  const Buffers in = fresh(random, Dtype::kF64, 3);
  EXPECT_THROW(run(ctx, in, settings()), ContractError);
  EXPECT_THROW(norm_of(ctx, in.at("g").view()), ContractError);
}

}  // namespace
}  // namespace natrix::test
