#include "core/train/lr_schedule.h"

#include <gtest/gtest.h>

namespace natrix {
namespace {

OptimizerConfig config(LrSchedule schedule) {
  OptimizerConfig c;
  c.lr = 1.0;
  c.min_lr = 0.1;
  c.warmup_steps = 4;
  c.schedule = schedule;
  return c;
}

TEST(LearningRate, WarmsUpFromTheFirstStep) {
  for (LrSchedule s : {LrSchedule::kConstant, LrSchedule::kCosine, LrSchedule::kWsd}) {
    EXPECT_DOUBLE_EQ(learning_rate(config(s), 20, 0), 0.25);
    EXPECT_DOUBLE_EQ(learning_rate(config(s), 20, 3), 1.0);
  }
}

TEST(LearningRate, Cosine) {
  EXPECT_DOUBLE_EQ(learning_rate(config(LrSchedule::kCosine), 20, 4), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config(LrSchedule::kCosine), 20, 12), 0.55);  // half way
  EXPECT_NEAR(learning_rate(config(LrSchedule::kCosine), 20, 20), 0.1, 1e-15);
}

TEST(LearningRate, WarmupStableDecay) {
  OptimizerConfig c = config(LrSchedule::kWsd);
  c.decay_steps = 10;
  EXPECT_DOUBLE_EQ(learning_rate(c, 20, 10), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(c, 20, 15), 0.55);
  c.decay_steps = 0;  // a fifth of the steps
  EXPECT_DOUBLE_EQ(learning_rate(c, 20, 16), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(c, 20, 18), 0.55);
}

TEST(LearningRate, ConstantAndNoWarmup) {
  OptimizerConfig c = config(LrSchedule::kConstant);
  c.warmup_steps = 0;
  EXPECT_DOUBLE_EQ(learning_rate(c, 20, 0), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(c, 20, 19), 1.0);
}

}  // namespace
}  // namespace natrix
