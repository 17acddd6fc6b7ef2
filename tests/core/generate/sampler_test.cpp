#include "core/generate/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

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

TEST(Sampler, BiasesComeBeforeTheRest) {
  SamplerConfig c{.temperature = 0, .repeat_penalty = 2.0};
  c.logit_bias = {{2, 0.75}, {0, -1.0}, {2, 0.75}, {1, -std::numeric_limits<double>::infinity()}};
  Sampler sampler(c);
  EXPECT_EQ(sampler.sample(kLogits), 2);  // 2 + 1.5 > 3; the biases of a token add up
  sampler.accept(2);
  EXPECT_EQ(sampler.sample(kLogits), 3);  // (2 + 1.5) / 2 < 3
  sampler.accept(3);
  EXPECT_EQ(sampler.sample(kLogits), 2);  // 3 / 2 < 1.75; token 1 is banned
}

TEST(Sampler, ABannedTokenIsNeverDrawn) {
  SamplerConfig c = kPlain;
  c.logit_bias = {{1, -std::numeric_limits<double>::infinity()}, {4, 3.0}};
  const auto f = frequencies(c);
  EXPECT_EQ(f[1], 0);
  EXPECT_NEAR(f[4] / f[2], 1, 0.1);  // −1 + 3 = 2
  for (int64_t token : {0, 2, 3, 4})
    c.logit_bias.push_back({token, -std::numeric_limits<double>::infinity()});
  Sampler sampler(c);
  EXPECT_THROW(sampler.sample(kLogits), InputError);
}

/// Sorts everything, stably, and then looks: the plain way, for finite logits.
class PlainSampler {
 public:
  explicit PlainSampler(const SamplerConfig& config) : c_(config), random_(config.seed) {}

  int64_t sample(std::span<const float> logits) {
    std::vector<std::pair<double, int64_t>> sorted;
    for (float x : logits) sorted.emplace_back(x, static_cast<int64_t>(sorted.size()));
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    if (c_.temperature == 0) return sorted.front().second;
    if (c_.top_k > 0) sorted.resize(std::min(sorted.size(), static_cast<size_t>(c_.top_k)));
    const double top = sorted.front().first;
    double sum = 0, reached = 0;
    for (const auto& [x, token] : sorted) sum += std::exp(x - top);
    size_t kept = 0;
    for (; kept < sorted.size(); ++kept) {
      const double p = std::exp(sorted[kept].first - top);
      if (kept > 0 && (reached >= c_.top_p * sum || p < c_.min_p)) break;
      reached += p;
    }
    sorted.resize(kept);
    sum = 0;
    for (const auto& [x, token] : sorted) sum += std::exp((x - top) / c_.temperature);
    double left = random_.uniform() * sum;
    for (const auto& [x, token] : sorted) {
      if ((left -= std::exp((x - top) / c_.temperature)) < 0) return token;
    }
    return sorted.back().second;
  }

 private:
  SamplerConfig c_;
  SplitMix64 random_;
};

TEST(Sampler, ChoosesAsThePlainWayDoes) {
  SplitMix64 random(11);
  for (int trial = 0; trial < 400; ++trial) {
    const auto pick = [&](std::initializer_list<double> of) { return of.begin()[random.next() % of.size()]; };
    const SamplerConfig c{.temperature = pick({0, 0.1, 1, 3}),
                          .top_k = static_cast<int64_t>(pick({0, 1, 2, 7, 40, 299, 300, 1000})),
                          .top_p = pick({0, 0.5, 0.95, 1}),
                          .min_p = pick({0, 0.05, 0.5, 1}),
                          .seed = random.next()};
    const double levels = pick({1, 3, 20, 1e6});  // few of them: many ties
    std::vector<float> logits(static_cast<size_t>(pick({1, 2, 300})));
    Sampler ours(c);
    PlainSampler plain(c);
    for (int draw = 0; draw < 5; ++draw) {
      for (float& x : logits) x = static_cast<float>(std::floor(random.uniform() * levels) / levels * 12 - 4);
      ASSERT_EQ(ours.sample(logits), plain.sample(logits))
          << c.temperature << " " << c.top_k << " " << c.top_p << " " << c.min_p << " " << levels;
    }
  }
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

TEST(Sampler, RefusesLogitsThatSayNothing) {
  for (const double temperature : {0.0, 1.0}) {
    for (const int64_t top_k : {0, 1, 3}) {
      Sampler sampler({.temperature = temperature, .top_k = top_k});
      for (size_t at = 0; at < kLogits.size(); ++at) {
        for (const float sick : {kNan, -kNan, kInf}) {
          auto logits = kLogits;
          logits[at] = sick;
          EXPECT_FALSE(has_choice(logits));
          EXPECT_THROW(sampler.sample(logits), NonfiniteLogits) << at << " " << sick;
        }
      }
      const std::array<float, 3> masked = {-kInf, -kInf, -kInf};
      EXPECT_FALSE(has_choice(masked));
      EXPECT_THROW(sampler.sample(masked), NonfiniteLogits);
      EXPECT_THROW(sampler.sample({}), NonfiniteLogits);
    }
  }
}

TEST(Sampler, NeverChoosesWhatIsMasked) {
  const std::array<float, 6> logits = {-kInf, 1.0f, -kInf, 1.5f, -kInf, -kInf};
  EXPECT_TRUE(has_choice(logits));
  for (const double penalty : {1.0, 1.5}) {
    SamplerConfig c = kPlain;
    c.repeat_penalty = penalty;
    Sampler sampler(c);
    for (int64_t token = 0; token < 6; ++token) sampler.accept(token);
    std::array<int, 6> count{};
    for (int i = 0; i < 2000; ++i) ++count[static_cast<size_t>(sampler.sample(logits))];
    EXPECT_EQ(count[1] + count[3], 2000);
    EXPECT_GT(count[1], 0);
  }
  Sampler greedy({.temperature = 0});
  EXPECT_EQ(greedy.sample(logits), 3);
}

TEST(Sampler, StaysInBoundsWhateverItsConfiguration) {
  const double absurd[] = {std::nan(""), -1, 0, 2, 1e308, std::numeric_limits<double>::infinity(), 1e-320};
  for (const double x : absurd) {
    for (const int64_t n : {int64_t{-5}, int64_t{0}, std::numeric_limits<int64_t>::max()}) {
      for (int which = 0; which < 4; ++which) {
        SamplerConfig c = kPlain;
        *std::array{&c.temperature, &c.top_p, &c.min_p, &c.repeat_penalty}[static_cast<size_t>(which)] = x;
        c.top_k = c.repeat_last_n = n;
        Sampler sampler(c);
        for (int i = 0; i < 20; ++i) {
          try {
            const int64_t token = sampler.sample(kLogits);
            ASSERT_TRUE(token >= 0 && token < 5) << which << " " << x << " " << n;
            sampler.accept(token);
          } catch (const NonfiniteLogits&) {  // a penalty that makes a logit infinite
            ASSERT_EQ(which, 3);
          }
        }
      }
    }
  }
}

TEST(Sampler, TheSameSeedRepeats) {
  Sampler a(kPlain), b(kPlain);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.sample(kLogits), b.sample(kLogits));
}

}  // namespace
}  // namespace natrix
