#include "core/generate/sampler.h"

#include <array>
#include <cmath>
#include <gtest/gtest.h>

namespace natrix {
namespace {

constexpr std::array<float, 5> kLogits = {1.0f, 3.0f, 2.0f, 3.0f, -1.0f};
constexpr SamplerConfig kPlain{
    .temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .repeat_penalty = 1, .seed = 1};

std::array<double, 5> frequencies(SamplerConfig config, int draws = 20000) {
  Sampler sampler(config);
  std::array<double, 5> f{};
  for (int i = 0; i < draws; ++i) f[static_cast<size_t>(sampler.sample(kLogits))] += 1.0 / draws;
  return f;
}

TEST(Sampler, GreedyTakesTheFirstOfEquals) {
  Sampler sampler({.temperature = 0});
  EXPECT_EQ(sampler.sample(kLogits), 1);
}

TEST(Sampler, PlainSamplingFollowsTheSoftmax) {
  double sum = 0;
  for (float l : kLogits) sum += std::exp(l);
  const auto f = frequencies(kPlain);
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(f[i], std::exp(kLogits[i]) / sum, 0.015) << i;
}

TEST(Sampler, TopKKeepsTheLargest) {
  SamplerConfig c = kPlain;
  c.top_k = 2;
  const auto f = frequencies(c);
  EXPECT_NEAR(f[1], 0.5, 0.015);
  EXPECT_NEAR(f[3], 0.5, 0.015);
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  SamplerConfig c = kPlain;
  c.top_p = 0.5;  // the softmax is .05 .40 .15 .40 .01
  EXPECT_EQ(frequencies(c)[2], 0);
  c.top_p = 0.85;
  EXPECT_GT(frequencies(c)[2], 0.1);
  EXPECT_EQ(frequencies(c)[0], 0);
  c.top_p = 0;
  EXPECT_DOUBLE_EQ(frequencies(c, 64)[1], 1);  // never less than one candidate; 64 draws add up exactly
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  SamplerConfig c = kPlain;
  c.min_p = 0.2;  // e^(2 − 3) = 0.37 stays, e^(1 − 3) = 0.14 goes
  const auto f = frequencies(c);
  EXPECT_GT(f[2], 0);
  EXPECT_EQ(f[0], 0);
}

TEST(Sampler, RepeatPenaltyForgetsAfterItsWindow) {
  SamplerConfig c{.temperature = 0, .repeat_penalty = 2.0, .repeat_last_n = 2};
  Sampler sampler(c);
  sampler.accept(1);
  EXPECT_EQ(sampler.sample(kLogits), 3);
  sampler.accept(3);
  EXPECT_EQ(sampler.sample(kLogits), 2);  // 3 / 2 = 1.5 < 2
  sampler.accept(2);                      // 1 is forgotten
  EXPECT_EQ(sampler.sample(kLogits), 1);
}

TEST(Sampler, TheSameSeedRepeats) {
  Sampler a(kPlain), b(kPlain);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.sample(kLogits), b.sample(kLogits));
}

}  // namespace
}  // namespace natrix
