#include "core/generate/log_probabilities.h"

#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace natrix {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

TEST(LogProbabilities, AreThoseOfTheSoftmax) {
  const std::array<float, 4> logits = {1.0f, 3.0f, kNever, 2.0f};
  const double sum = std::exp(1.0) + std::exp(3.0) + std::exp(2.0);
  const LogProbabilities p = log_probabilities(logits, 0, 2);
  EXPECT_EQ(p.chosen.token, 0);
  EXPECT_NEAR(p.chosen.log_probability, 1 - std::log(sum), 1e-12);
  ASSERT_EQ(p.top.size(), 2u);
  EXPECT_EQ(p.top[0].token, 1);
  EXPECT_NEAR(p.top[0].log_probability, 3 - std::log(sum), 1e-12);
  EXPECT_EQ(p.top[1].token, 3);
}

TEST(LogProbabilities, OfEqualsTheSmallestComesFirstAndTheImpossibleNever) {
  const std::array<float, 5> logits = {kNever, 7.0f, 5.0f, 7.0f, 5.0f};
  const LogProbabilities p = log_probabilities(logits, 4, 100);
  std::vector<int64_t> tokens;
  for (const auto& t : p.top) tokens.push_back(t.token);
  EXPECT_EQ(tokens, (std::vector<int64_t>{1, 3, 2, 4}));
}

TEST(LogProbabilities, HugeLogitsDoNotOverflow) {
  const std::array<float, 2> logits = {1e30f, -1e30f};
  const LogProbabilities p = log_probabilities(logits, 0, 0);
  EXPECT_EQ(p.chosen.log_probability, 0);
  EXPECT_TRUE(p.top.empty());
}

}  // namespace
}  // namespace natrix
