#include "moe/router.h"

#include <gtest/gtest.h>

#include "core/layers/param_store.h"
#include "tests/kernels/cases.h"

namespace natrix {
namespace {

ModelConfig config(double rate) {
  ModelConfig c;
  c.d_model = 3;
  c.moe.num_experts = 4;
  c.moe.top_k = 2;
  c.moe.bias_update_rate = rate;
  return c;
}

TEST(MoeRouter, BiasMovesAgainstTheLoad) {
  MoeRouter router(config(0.01), 5, "r.");
  std::vector<Param*> params;
  router.visit([&](Param& p) { params.push_back(&p); });
  ASSERT_EQ(params.size(), 2u);
  EXPECT_FALSE(params[1]->trainable);
  const ParamStore store(params, Dtype::kF32, true);
  StepTally tally;
  tally.begin_step(8);
  double* n = tally.layer(5, 4).counts.view().as<double>();
  n[0] = 10, n[1] = 4, n[2] = 2, n[3] = 0;  // the mean is 4
  router.update_bias(tally);
  router.update_bias(tally);
  const float* b = params[1]->value.as<float>();
  EXPECT_FLOAT_EQ(b[0], -0.02f);
  EXPECT_FLOAT_EQ(b[1], 0.0f);
  EXPECT_FLOAT_EQ(b[2], 0.02f);
  EXPECT_FLOAT_EQ(b[3], 0.02f);
}

TEST(MoeRouter, WithoutARateThereIsNoBias) {
  MoeRouter router(config(0), 0, "r.");
  int params = 0;
  router.visit([&](Param&) { ++params; });
  EXPECT_EQ(params, 1);
}

TEST(MoeRouter, BiasChoosesButDoesNotWeigh) {
  test::Random random;
  MoeRouter router(config(0.01), 0, "r.");
  std::vector<Param*> params;
  router.visit([&](Param& p) { params.push_back(&p); });
  const ParamStore store(params, Dtype::kF64, true);
  params[1]->value.as<double>()[3] = 10;  // everyone takes expert 3 first
  Context ctx(Backend::kReference);
  SaveStack saved;
  StepTally tally;
  tally.begin_step(6);
  struct NoCarry final : CarryLink {
    View enter(CarryKey, Dtype, const Shape&, const std::function<SegmentMap()>&) override {
      return {};
    }
    void leave(CarryKey, View) override {}
  } carry;
  Pass pass{ctx, saved, carry, tally, {.batch = 1, .tokens = 6}, Keep::kNothing, Visit::kFirst};
  const Buffer x = random.normal(Dtype::kF64, {1, 6, 3});
  const MoeRouter::Choice c = router.forward(pass, x.view());
  router.count(pass, c, c.expert);
  for (int64_t t = 0; t < 6; ++t) {
    EXPECT_EQ(c.expert.row<int32_t>(t)[0], 3);
    EXPECT_EQ(c.weight.row<double>(t)[0], c.scores.row<double>(t)[3]);
  }
  EXPECT_EQ(tally.layer(0, 4).counts.view().as<double>()[3], 6);
}

}  // namespace
}  // namespace natrix
