#include "core/train/memory_plan.h"

#include <gtest/gtest.h>

#include "core/layers/carried_shapes.h"
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
      describe_model(c)->visit([&](Param& p) { total += p.shape.count(); });
      EXPECT_EQ(count_parameters(c).total, total) << pattern;
      EXPECT_LE(count_parameters(c).active, total);
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

TEST(MemoryPlan, BoundaryBytesAreThoseOfTheCarriedStates) {
  const ModelConfig c = small_config("M-ME", 2);
  EXPECT_EQ(boundary_bytes_per_row(c), zero_states(c, 1, Dtype::kF32).bytes());
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
