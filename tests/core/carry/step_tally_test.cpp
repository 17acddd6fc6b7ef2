#include "core/carry/step_tally.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace natrix {
namespace {

TEST(StepTally, AnotherChoiceOnRecomputationIsAnError) {
  StepTally tally;
  tally.begin_step(4);
  Buffer expert(Dtype::kI32, {4, 2});
  tally.witness(0, 1, expert.view());
  tally.witness(0, 1, expert.view());
  expert.view().as<int32_t>()[3] = 1;
  EXPECT_THROW(tally.witness(0, 1, expert.view()), RunError);
  tally.witness(1, 1, expert.view());
  tally.begin_step(4);
  tally.witness(0, 1, expert.view());
}

TEST(StepTally, BalanceFigures) {
  StepTally tally;
  tally.begin_step(10);
  StepTally::Layer& l = tally.layer(3, 4);
  std::fill_n(l.counts.view().as<double>(), 4, 5.0);  // 10 tokens, top-2
  std::fill_n(l.score_sum.view().as<double>(), 4, 2.5);
  l.squared_logsumexp.view().as<double>()[0] = 40;
  BalanceFigures f = balance_figures(l, 10);
  EXPECT_DOUBLE_EQ(f.aux_loss, 1);  // perfectly balanced
  EXPECT_DOUBLE_EQ(f.z_loss, 4);
  EXPECT_EQ(f.load, (std::vector<double>{0.25, 0.25, 0.25, 0.25}));
  double* n = l.counts.view().as<double>();
  double* p = l.score_sum.view().as<double>();
  n[0] = 20, n[1] = n[2] = n[3] = 0;
  p[0] = 10, p[1] = p[2] = p[3] = 0;
  f = balance_figures(l, 10);
  EXPECT_DOUBLE_EQ(f.aux_loss, 4);  // all on one expert: E
}

}  // namespace
}  // namespace natrix
