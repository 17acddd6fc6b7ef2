// Decoding by recorded steps: part of test_launch where CUDA is emulated, which counts launches and waits.
#include <gtest/gtest.h>

#include "core/generate/session_file.h"
#include "core/hf/hf_checkpoint.h"
#include "cuda_runtime.h"
#include "tests/launch/program.h"
#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

constexpr int64_t kDecodeRows = 3, kDecodeTokens = 24;

struct CudaDecode : ::testing::TestWithParam<Dtype> {
  Context ctx{Backend::kCuda};
  ModelConfig config = small_config();  // MEME
  AssembledModel model = small_model(config, GetParam(), ctx.memory());
  SmallBatch batch = small_batch(kDecodeRows, kDecodeTokens, 17);

  View token(int64_t t) const { return batch.tokens.view().columns(t, 1); }
  /// Logits after token t, which is fed.
  std::vector<float> next(Session& session, int64_t t) const {
    session.feed(token(t));
    const View logits = session.logits();
    return {logits.as<float>(), logits.as<float>() + logits.count()};
  }
};
INSTANTIATE_TEST_SUITE_P(Dtypes, CudaDecode, ::testing::Values(Dtype::kF32, Dtype::kBF16),
                         [](const auto& dtype) { return name_of(dtype.param); });

TEST_P(CudaDecode, GivesTheBitsOfStepByStep) {
  Session recorded(*model, ctx, kDecodeRows, 8), plain(*model, ctx, kDecodeRows, 8, /*records=*/false);
  uint64_t launches = cuda_emulation::graph_launches();
  for (int64_t t = 0; t < 12; ++t) ASSERT_EQ(next(recorded, t), next(plain, t)) << t;
  EXPECT_GE(cuda_emulation::graph_launches() - launches, 6u);
  // A prompt in between, of which the first token was pending: states are read from where steps left them.
  const View piece = batch.tokens.view().columns(12, 7);
  recorded.feed(piece);
  plain.feed(piece);
  launches = cuda_emulation::graph_launches();
  for (int64_t t = 19; t < kDecodeTokens; ++t) ASSERT_EQ(next(recorded, t), next(plain, t)) << t;
  EXPECT_GE(cuda_emulation::graph_launches() - launches, 1u);
}

/// Of the device it waits for the logits, and for nothing else: not for experts, whose choice it never
/// learns.
TEST_P(CudaDecode, WaitsForLogitsOnly) {
  Session session(*model, ctx, kDecodeRows, 8);
  int64_t t = 0;
  for (; t < 8; ++t) next(session, t);  // both recordings are made
  const uint64_t launches = cuda_emulation::graph_launches(), waits = cuda_emulation::host_waits();
  for (; t < 14; ++t) next(session, t);
  EXPECT_EQ(cuda_emulation::graph_launches() - launches, 6u);
  EXPECT_EQ(cuda_emulation::host_waits() - waits, 6u);
}

/// Saved between two recorded steps and loaded, by another session and by the same one, whose recordings then
/// point to states that are gone.
TEST_P(CudaDecode, GoesOnFromAFile) {
  const ScratchDir scratch;
  const std::string hash = hash_weights(model->params());
  Session first(*model, ctx, kDecodeRows, 8), second(*model, ctx, kDecodeRows, 8);
  std::vector<std::vector<float>> want;
  for (int64_t t = 0; t < kDecodeTokens; ++t) {
    want.push_back(next(first, t));
    if (t == 9) save_session(scratch / "state", hash, first);
  }
  for (Session* session : {&second, &first}) {
    load_session(scratch / "state", hash, *session);
    EXPECT_EQ(session->position(), 10);
    for (int64_t t = 10; t < kDecodeTokens; ++t) {
      ASSERT_EQ(next(*session, t), want[static_cast<size_t>(t)]) << t;
    }
  }
}

/// Memory of the arena that somebody holds, or that moved, is not that of the recordings.
TEST_P(CudaDecode, LeavesTheArenaToItsOtherUsers) {
  Session recorded(*model, ctx, kDecodeRows, 8), plain(*model, ctx, kDecodeRows, 8, /*records=*/false);
  int64_t t = 0;
  for (; t < 8; ++t) ASSERT_EQ(next(recorded, t), next(plain, t));
  {
    Arena::Frame frame(ctx.arena());
    const View held = ctx.arena().take(Dtype::kF32, {1 << 14});
    fill_zero(held);
    ASSERT_EQ(next(recorded, t), next(plain, t));
    const OnHost unchanged(ctx, held);
    EXPECT_TRUE(std::all_of(unchanged.view().as<float>(), unchanged.view().as<float>() + (1 << 14),
                            [](float x) { return x == 0; }));
  }
  for (++t; t < 20; ++t) ASSERT_EQ(next(recorded, t), next(plain, t)) << t;
}

}  // namespace
}  // namespace natrix::test
