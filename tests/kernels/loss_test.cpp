// Cross-entropy: the reference by hand and against finite differences, the CPU's against the reference on
// every instruction set of this machine, and both on ignored targets, huge logits and NaNs.
#include "kernels/loss.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

constexpr double kScale = 0.25;

struct LossCase {
  Buffer logits, targets;

  /// About a quarter of the targets are ignored.
  static LossCase fresh(Random& random, Dtype dtype, int64_t rows, int64_t vocabulary) {
    LossCase c{random.normal(dtype, {rows, vocabulary}, 5.0), Buffer(Dtype::kI64, {rows})};
    for (int64_t r = 0; r < rows; ++r) {
      c.target(r) = random.uniform(0, 1) < 0.25 ? kIgnoreTarget : random.integer(0, vocabulary - 1);
    }
    return c;
  }
  LossCase as(Dtype dtype) const { return {test::as(dtype, logits.view()), copy_of(targets.view())}; }
  int64_t& target(int64_t r) const { return targets.view().as<int64_t>()[r]; }
  int64_t rows() const { return logits.view().rows(); }
  int64_t vocabulary() const { return logits.view().cols(); }
};

Buffer filled_targets(int64_t rows, int64_t target) {
  Buffer b(Dtype::kI64, {rows});
  std::fill_n(b.view().as<int64_t>(), rows, target);
  return b;
}

Buffers run(Context& ctx, const LossCase& c) {
  Buffers out;
  out["loss"] = poisoned(Dtype::kF64, {c.rows()});
  out["dlogits"] = poisoned(c.logits.view().dtype, c.logits.view().shape);
  cross_entropy(ctx, {.logits = c.logits.view(),
                      .targets = c.targets.view(),
                      .loss = out["loss"].view(),
                      .dlogits = out["dlogits"].view(),
                      .scale = kScale});
  return out;
}

std::string hint(const LossCase& c, const Random& random) {
  return c.logits.view().shape.to_string() + ", seed " + std::to_string(random.seed());
}

TEST(LossReference, ByHand) {
  Context ctx(Backend::kReference);
  LossCase c{Buffer(Dtype::kF64, {1, 2}), Buffer(Dtype::kI64, {1})};
  c.logits.view().as<double>()[1] = std::log(3.0);  // probabilities ¼ and ¾
  c.target(0) = 1;
  const Buffers out = run(ctx, c);
  EXPECT_NEAR(out.at("loss").view().as<double>()[0], std::log(4.0 / 3), 1e-15);
  EXPECT_NEAR(out.at("dlogits").view().as<double>()[0], kScale * 0.25, 1e-16);
  EXPECT_NEAR(out.at("dlogits").view().as<double>()[1], -kScale * 0.25, 1e-16);
}

TEST(LossReference, GradientsAreFiniteDifferences) {
  Random random;
  Context ctx(Backend::kReference);
  for (const int64_t vocabulary : {1, 2, 7, 13}) {
    LossCase c = LossCase::fresh(random, Dtype::kF64, 6, vocabulary);
    c.logits = random.normal(Dtype::kF64, {6, vocabulary});  // no gradient is lost in the rounding of losses
    const Buffer scale = filled(Dtype::kF64, {6}, kScale);
    const auto loss = [&] { return dot(run(ctx, c).at("loss").view(), scale.view()); };
    const Buffers gradient = run(ctx, c);
    EXPECT_LE(finite_difference_error(c.logits.view(), gradient.at("dlogits").view(), loss), 1e-6)
        << hint(c, random);
  }
}

using LossTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, LossTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(LossTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  std::vector<int64_t> vocabularies = awkward_sizes();
  for (const int64_t more : {257, 1023, 1025, 3001}) vocabularies.push_back(more);  // pieces of 1024 terms
  for (const int64_t vocabulary : vocabularies) {
    for (const int64_t rows : {0, 1, 5}) {
      const auto c = LossCase::fresh(random, Dtype::kF32, rows, vocabulary);
      const Buffers got = run(ctx, c), want = run(reference, c.as(Dtype::kF64));
      // A relative error of Σ exp is an absolute one of its logarithm, and of probabilities, which are at
      // most 1.
      const double tolerance = f32_tolerance(std::min<int64_t>(vocabulary, 1024));
      for (int64_t r = 0; r < rows; ++r) {
        EXPECT_NEAR(got.at("loss").view().as<double>()[r], want.at("loss").view().as<double>()[r], tolerance)
            << hint(c, random);
      }
      for (int64_t i = 0; i < rows * vocabulary; ++i) {
        EXPECT_NEAR(got.at("dlogits").view().as<float>()[i], want.at("dlogits").view().as<double>()[i],
                    kScale * tolerance)
            << "element " << i << " of " << hint(c, random);
      }
    }
  }
}

/// Wherever it stands: in a vector, in the rest of a row. Training stops on it.
TEST_P(LossTargets, ANanShowsInTheLoss) {
  Random random;
  Context ctx(backend());
  for (int64_t at = 0; at < 37; ++at) {
    auto c = LossCase::fresh(random, Dtype::kF32, 1, 37);
    c.target(0) = 5;
    c.logits.view().as<float>()[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(run(ctx, c).at("loss").view().as<double>()[0])) << "at " << at;
  }
}

class Loss : public ::testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, Loss, ::testing::ValuesIn(backends()),
                         [](const auto& backend) { return name_of(backend.param); });

TEST_P(Loss, HugeLogitsNeitherOverflowNorVanish) {
  Context ctx(GetParam());
  LossCase c{Buffer(Dtype::kF32, {3, 3}), Buffer(Dtype::kI64, {3})};
  for (int64_t r = 0; r < 3; ++r) {
    float* logits = c.logits.view().row<float>(r);
    logits[0] = 1e30f, logits[1] = 0, logits[2] = -1e30f;
    c.target(r) = r;
  }
  const Buffers out = run(ctx, c);
  const double* loss = out.at("loss").view().as<double>();
  const auto huge = static_cast<double>(1e30f);
  EXPECT_EQ(loss[0], 0);
  EXPECT_EQ(loss[1], huge);
  EXPECT_EQ(loss[2], 2 * huge);
  const auto s = static_cast<float>(kScale);
  const float want[3][3] = {{0, 0, 0}, {s, -s, 0}, {s, 0, -s}};
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(out.at("dlogits").view().row<float>(r)[i], want[r][i]) << r;
  }
}

TEST_P(Loss, EqualLogitsAreAUniformGuess) {
  Context ctx(GetParam());
  for (const double level : {-1e4, 0.0, 1e4}) {
    LossCase c{filled(Dtype::kF32, {1, 257}, level), Buffer(Dtype::kI64, {1})};
    EXPECT_NEAR(run(ctx, c).at("loss").view().as<double>()[0], std::log(257.0), 1e-11) << level;
  }
}

TEST_P(Loss, AnIgnoredRowIsNotEvenRead) {
  Context ctx(GetParam());
  LossCase c{poisoned(Dtype::kF32, {2, 19}), filled_targets(2, kIgnoreTarget)};
  const Buffers out = run(ctx, c);
  EXPECT_EQ(largest(out.at("loss").view()), 0);
  EXPECT_EQ(relative_difference(out.at("dlogits").view(), filled(Dtype::kF32, {2, 19}, 0.0).view()), 0);
}

TEST_P(Loss, TheGradientMayOverwriteTheLogitsOrBeLeftOut) {
  Random random;
  Context ctx(GetParam());
  const auto c = LossCase::fresh(random, Dtype::kF32, 9, 67);
  const Buffers want = run(ctx, c);
  Buffer in_place = copy_of(c.logits.view()), loss = poisoned(Dtype::kF64, {9});
  CrossEntropy args{.logits = in_place.view(), .targets = c.targets.view(), .loss = loss.view()};
  args.scale = kScale;
  cross_entropy(ctx, args);
  EXPECT_TRUE(same_bits(loss.view(), want.at("loss").view())) << hint(c, random);
  EXPECT_TRUE(same_bits(in_place.view(), c.logits.view())) << "logits that were not to be written";
  args.dlogits = in_place.view();
  cross_entropy(ctx, args);
  EXPECT_TRUE(same_bits(loss.view(), want.at("loss").view())) << hint(c, random);
  EXPECT_TRUE(same_bits(in_place.view(), want.at("dlogits").view())) << hint(c, random);
}

TEST_P(Loss, RowsMayBeStrided) {
  Random random;
  Context ctx(GetParam());
  const auto c = LossCase::fresh(random, Dtype::kF32, 7, 35);
  const Buffers want = run(ctx, c);
  const StridedCopy logits(c.logits.view()), dlogits(c.logits.view());
  Buffer loss = poisoned(Dtype::kF64, {7});
  cross_entropy(ctx, {.logits = logits.view(),
                      .targets = c.targets.view(),
                      .loss = loss.view(),
                      .dlogits = dlogits.view(),
                      .scale = kScale});
  EXPECT_TRUE(same_bits(loss.view(), want.at("loss").view())) << hint(c, random);
  EXPECT_TRUE(same_bits(dlogits.view(), want.at("dlogits").view())) << hint(c, random);
  EXPECT_TRUE(dlogits.padding_untouched());
}

TEST_P(Loss, RefusesWhatBreaksItsContract) {
  Context ctx(GetParam());
  const Buffer logits(Dtype::kF32, {2, 3}), other(Dtype::kF32, {2, 4}), targets(Dtype::kI64, {2}),
      loss(Dtype::kF64, {2}), f32_loss(Dtype::kF32, {2});
  const CrossEntropy good{.logits = logits.view(), .targets = targets.view(), .loss = loss.view()};
  EXPECT_NO_THROW(cross_entropy(ctx, good));
  CrossEntropy bad = good;
  bad.loss = f32_loss.view();
  EXPECT_THROW(cross_entropy(ctx, bad), ContractError);
  bad = good;
  bad.dlogits = other.view();
  EXPECT_THROW(cross_entropy(ctx, bad), ContractError);
  for (const int64_t target : {int64_t{3}, int64_t{-2}}) {
    const Buffer outside = filled_targets(2, target);
    bad = good;
    bad.targets = outside.view();
    EXPECT_THROW(cross_entropy(ctx, bad), ContractError) << target;
  }
}

TEST(LossCpu, ThreadsChangeNoBit) {
  Random random;
  const auto c = LossCase::fresh(random, Dtype::kF32, 300, 171);  // several blocks of rows
  Context one(Backend::kCpu, 1);
  const Buffers want = run(one, c);
  for (const int threads : {2, 3}) {
    Context ctx(Backend::kCpu, threads);
    expect_same_bits(Views(run(ctx, c)), Views(want), hint(c, random));
  }
}

TEST(LossCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  EXPECT_THROW(run(ctx, LossCase::fresh(random, Dtype::kF64, 2, 3)), ContractError);
}

}  // namespace
}  // namespace natrix::test
