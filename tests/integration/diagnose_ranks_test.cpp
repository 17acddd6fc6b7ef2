// Several ranks find the origin of a NaN together.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <limits>
#include <mutex>
#include <set>

#include "core/sequence/diagnose.h"
#include "distributed/thread_communicator.h"
#include "tests/launch/ranks.h"

namespace natrix::test {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kToken = 5;

View param_named(Model& model, const std::string& part) {
  for (Param* p : model.params()) {
    if (p->name.find(part) != std::string::npos) return p->value;
  }
  ADD_FAILURE() << "no parameter " << part;
  return {};
}

/// Weights, all finite, with which the first sublayer's output overflows at kToken and nowhere else.
AssembledModel overflowing_model() {
  ModelConfig config = small_config();
  config.tie_embeddings = false;
  AssembledModel model = small_model(config, Dtype::kF32);
  const View embedding = param_named(*model, "embed"), in_proj = param_named(*model, "in_proj");
  for (int64_t v = 0; v < embedding.rows(); ++v) embedding.row<float>(v)[0] = v == kToken ? 1.0f : 0.0f;
  for (int64_t i = 0; i < in_proj.rows(); ++i) in_proj.row<float>(i)[0] = 1e30f;
  return model;
}

/// What each rank says of a step over `rows`; `spoil` may change a rank's weights.
std::set<std::string> located(ExperimentConfig config, Model& whole, const SmallBatch& rows,
                              const std::function<void(int rank, Model&)>& spoil = {}) {
  std::set<std::string> said;
  std::mutex mutex;
  const int ranks = static_cast<int>(*config.parallel.dp * config.parallel.cp);
  run_ranks(ranks, 120, [&](Transport& world) {
    Context ctx(Backend::kCpu, 1);
    RunMesh mesh(config, ctx, &world);
    const Ranks ranks = mesh.ranks();
    AssembledModel model = assemble_model(config.model, whole.dtype(), true, ctx.memory(), mesh.exchange());
    copy_weights(whole, *model);
    if (spoil) spoil(ranks.world.rank(), *model);
    TrainStep step(*model, ctx, config, ranks);
    const Batch batch = ranks.share.take(FixedRows(rows), 0, config);
    step.compute(batch);
    const std::string where =
        locate_nonfinite(*model, ctx, step.micro_batches(batch), config.sequence, ranks);
    const std::lock_guard lock(mutex);
    said.insert(where);
  });
  return said;
}

ExperimentConfig diagnosed(const Model& whole, int dp, int cp, int ep,
                           CarryLinkKind link = CarryLinkKind::kRelay) {
  ExperimentConfig c;
  c.model = whole.config();
  c.sequence.length = 24;
  c.sequence.chunk = 4;
  c.train.batch_size = 4;
  c.train.micro_batch_size = 1;
  c.parallel = {.dp = dp, .cp = cp, .ep = ep, .cp_link = link, .timeout = 120};
  return c;
}

/// Four rows of 24 tokens, with kToken at one place.
SmallBatch rows_with_token(int64_t row, int64_t position) {
  SmallBatch b = small_batch(4, 24, 17);
  int64_t* tokens = b.tokens.view().as<int64_t>();
  for (int64_t i = 0; i < 4 * 24; ++i) {
    if (tokens[i] == kToken) tokens[i] = kToken + 1;
    b.doc_start.view().as<uint8_t>()[i] = 0;
  }
  tokens[row * 24 + position] = kToken;
  return b;
}

TEST(LocateNonfinite, NamesTheRankThatReadTheToken) {
  AssembledModel whole = overflowing_model();
  // cp: super-segments of 12 tokens, and position 17 is the second chunk of the second.
  for (const CarryLinkKind link : {CarryLinkKind::kRelay, CarryLinkKind::kScan}) {
    EXPECT_THAT(located(diagnosed(*whole, 1, 3, 1, link), *whole, rows_with_token(2, 17)),
                ElementsAre("rank 1: first seen in the output of sublayer 0 (M), row 2, position 17"));
  }
  EXPECT_THAT(located(diagnosed(*whole, 2, 2, 4), *whole, rows_with_token(3, 6)),
              ElementsAre("rank 3: first seen in the output of sublayer 0 (M), row 3, position 6"));
  EXPECT_THAT(located(diagnosed(*whole, 4, 1, 2), *whole, rows_with_token(1, 23)),
              ElementsAre("rank 1: first seen in the output of sublayer 0 (M), row 1, position 23"));
}

TEST(LocateNonfinite, NamesTheRankThatHoldsTheWeight) {
  AssembledModel whole = small_model(small_config(), Dtype::kF32);
  const SmallBatch rows = rows_with_token(0, 0);
  const auto said = located(diagnosed(*whole, 2, 1, 2), *whole, rows, [](int rank, Model& model) {
    if (rank == 1)
      param_named(model, "experts.down").as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  });
  ASSERT_EQ(said.size(), 1u);
  EXPECT_THAT(*said.begin(), ::testing::StartsWith("rank 1: the weight "));
  EXPECT_THAT(*said.begin(), ::testing::HasSubstr("experts.2.down_proj.weight is not finite;"))
      << "its first";
  EXPECT_THAT(located(diagnosed(*whole, 2, 1, 2), *whole, rows),
              ElementsAre("weights, activations and gradients are finite when computed again"));
}

}  // namespace
}  // namespace natrix::test
