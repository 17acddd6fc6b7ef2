#include "launch/training_memory.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "core/layers/mlp.h"
#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

TEST(TrainingMemory, CountsEveryParameter) {
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

TEST(TrainingMemory, ActivationsOfATokenAreThoseOfASegment) {
  ModelConfig c = small_config("ME", 2);
  c.d_model = 64;
  c.moe.d_ff = 96;
  AssembledModel m = small_model(c, Dtype::kF32);
  Context ctx(Backend::kReference);
  const auto peak = [&](int64_t tokens) {
    const SmallBatch batch = small_batch(1, tokens, 17);
    const Sequences rows = batch.rows();
    ctx.arena().clear_peak();
    gradients_of(*m, ctx, {&rows, 1}, {.chunk = tokens, .needs_tally = true});
    return static_cast<double>(ctx.arena().peak());
  };
  EXPECT_NEAR(peak(256) - peak(128), 128 * static_cast<double>(activation_bytes_per_token(c)),
              0.06 * (peak(256) - peak(128)));  // a CPU's tile states come on top
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

TEST(TrainingMemory, AutomaticMicroBatchDividesTheRows) {
  ExperimentConfig c;
  c.model = small_config();
  c.sequence.chunk = 16;
  EXPECT_EQ(automatic_micro_batch(c, 12), 12);
  c.model.d_model = 4096;
  c.model.repeat = 32;
  c.sequence.length = c.sequence.chunk = 1 << 20;
  EXPECT_EQ(automatic_micro_batch(c, 12), 1);
}

// The choice is part of what a configuration means: runs must repeat. These are those of before it was
// measured in a dry run.
TEST(TrainingMemory, AutomaticMicroBatchesStayWhatTheyWere) {
  ExperimentConfig c = load_experiment(NATRIX_SOURCE_DIR "/configs/quickstart.yaml", {}).config;
  c.model.vocab_size = 257;
  c.sequence.length = 65536;
  for (const auto& [chunk, of_64] :
       {std::pair(128, 64), {256, 32}, {512, 16}, {1024, 8}, {4096, 2}, {16384, 1}}) {
    c.sequence.chunk = chunk;
    EXPECT_EQ(automatic_micro_batch(c, 64), of_64) << chunk;
  }
}

}  // namespace
}  // namespace natrix::test
