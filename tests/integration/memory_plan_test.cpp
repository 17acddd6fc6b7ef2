#include "core/train/memory_plan.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "core/layers/mlp.h"
#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

TEST(MemoryPlan, CountsEveryParameter) {
  for (const char* pattern : {"M", "ME", "M-ME", "E-"}) {
    for (bool variant : {false, true}) {
      ModelConfig c = small_config(pattern, 3);
      if (variant) {
        c.tie_embeddings = false;
        c.mamba.inner_norms = c.mamba.conv_bias = false;
        c.mamba.proj_bias = true;
        c.mlp.activation = MlpActivation::kGelu;
        c.moe.activation = MlpActivation::kRelu2;
        c.moe.shared_experts = 2;
        c.moe.bias_update_rate = 0.1;
      }
      int64_t total = 0;
      AssembledModel model = describe_model(c);
      model->visit([&](Param& p) { total += p.shape.count(); });
      const int64_t experts = (is_gated(c.moe.activation) ? 3 : 2) * c.moe.d_ff * c.d_model;
      const auto layers = static_cast<int64_t>(std::ranges::count(c.stack(), 'E'));
      EXPECT_EQ(model->count_parameters().total, total) << pattern;
      EXPECT_EQ(model->count_parameters().active,
                total - layers * (c.moe.num_experts - c.moe.top_k) * experts)
          << pattern;
    }
  }
}

TEST(MemoryPlan, ActivationsAreAnUpperEstimateOfWhatOneSegmentTakes) {
  ModelConfig c = small_config("ME", 2);
  c.d_model = 64;
  c.moe.d_ff = 96;
  AssembledModel m = small_model(c, Dtype::kF32);
  Context ctx(Backend::kCpu);
  const SmallBatch batch = small_batch(1, 256, 17);
  const Sequences rows = batch.rows();
  gradients_of(*m, ctx, {&rows, 1}, {.chunk = 256, .needs_tally = true});
  const double planned = static_cast<double>(activation_bytes_per_token(c) * 256);
  // Backward's own scratch comes on top, of one sublayer at a time.
  EXPECT_LT(static_cast<double>(ctx.arena().peak()), 2.0 * planned);
  EXPECT_GT(static_cast<double>(ctx.arena().peak()), 0.7 * planned);
}

TEST(Carries, AreEveryStateThatALayerLeaves) {
  const ModelConfig c = small_config("M-ME", 2);
  AssembledModel m = small_model(c, Dtype::kF32);
  const CarryList carries = m->carries();
  Context ctx(Backend::kCpu);
  LocalRoute route;
  CutRoute none;
  SegmentSchedule schedule(*m, ctx, route, none, {.chunk = 8});
  const SmallBatch batch = small_batch(2, 8, 17);
  schedule.pass_over(batch.rows(), [](int64_t) {});
  ASSERT_EQ(route.carried().entries().size(), carries.size());
  for (const CarriedState& state : carries) {
    const View left = route.carried().at(state.key);
    EXPECT_EQ(left.shape, state.shape(2)) << state.name;
    EXPECT_EQ(left.dtype, state.spec.dtype) << state.name;
  }
  EXPECT_EQ(bytes_of(carries, 2), route.carried().bytes());
  EXPECT_EQ(zero_states(carries, 2).bytes(), route.carried().bytes());
}

TEST(MemoryPlan, AutomaticMicroBatchDividesTheBatch) {
  ModelConfig c = small_config();
  EXPECT_EQ(automatic_micro_batch(c, 12, 16), 12);
  c.d_model = 4096;
  c.repeat = 32;
  EXPECT_EQ(automatic_micro_batch(c, 12, 1 << 20), 1);
}

}  // namespace
}  // namespace natrix::test
