// What a training step costs the host: how often it waits for the device, and device memory that it takes.
// Part of test_launch where CUDA is emulated, which counts both.
#include <gtest/gtest.h>

#include "cuda_runtime.h"
#include "kernels/cuda/device.h"
#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

constexpr int64_t kTokens = 40, kChunk = 8, kChunks = kTokens / kChunk;

struct CudaStep : ::testing::TestWithParam<Dtype> {
  Context ctx{Backend::kCuda};
  ModelConfig config = small_config();  // MEME
  AssembledModel model = small_model(config, GetParam(), ctx.memory());
  SmallBatch batch = small_batch(2, kTokens, 17);
  LocalRoute states, gradients;
  SegmentSchedule schedule{*model, ctx, states, gradients, {.chunk = kChunk, .needs_tally = true}};

  void step() {
    const Sequences rows = batch.rows();
    StepTally tally;
    tally.begin_step(rows.tokens.count());
    schedule.step({&rows, 1}, 1e-2, tally);
  }
};
INSTANTIATE_TEST_SUITE_P(Dtypes, CudaStep, ::testing::Values(Dtype::kF32, Dtype::kBF16),
                         [](const auto& dtype) { return name_of(dtype.param); });

/// Of a MoE layer it must know the experts' loads before it goes on; at first it counts their scores, too. Of
/// a segment it reads the loss.
TEST_P(CudaStep, WaitsForExpertsAndLossesOnly) {
  step();
  const uint64_t before = cuda_emulation::host_waits();
  step();
  const int64_t layers = 2, first_visits = 2 * kChunks, again = kChunks - 1;
  EXPECT_EQ(cuda_emulation::host_waits() - before,
            static_cast<uint64_t>(layers * (first_visits + again) + kChunks));
}

TEST_P(CudaStep, TakesNoMemoryAfterTheFirst) {
  step();
  const int64_t peak = cuda::peak_bytes();
  for (int i = 0; i < 3; ++i) step();
  EXPECT_EQ(cuda::peak_bytes(), peak);
  EXPECT_GT(peak, 0);
}

}  // namespace
}  // namespace natrix::test
