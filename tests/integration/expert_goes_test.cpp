// Rows are sent to experts in one round or in two; results are equal bit for bit.
#include <cstring>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "distributed/all_to_all_exchange.h"
#include "distributed/mesh_ranks.h"
#include "distributed/thread_communicator.h"
#include "tests/launch/ranks.h"

namespace natrix::test {
namespace {

constexpr int64_t kNever = int64_t{1} << 60;  // a message so long

struct GoesLayout {
  int dp, cp, ep;
  int64_t experts;
  std::optional<double> capacity = {};
};

/// Gradients of rank `asked`, and the loss.
struct GoesStep {
  double loss = 0;
  std::vector<Buffer> gradients;
  int64_t messages = 0;
};

GoesStep step_with_goes(const GoesLayout& l, int goes, Dtype dtype, Backend backend, int asked) {
  ExperimentConfig config;
  config.model = small_config();
  config.model.moe.num_experts = l.experts;
  config.model.moe.capacity_factor = l.capacity;
  config.sequence.length = 40;
  config.sequence.chunk = 7;
  config.train.batch_size = 4;
  config.train.micro_batch_size = 2 / l.dp;
  config.parallel = {.dp = l.dp, .cp = l.cp, .ep = l.ep, .timeout = 120};
  const SmallBatch rows = small_batch(4, 40, 17);
  AssembledModel whole = small_model(config.model, dtype);
  GoesStep result;
  run_ranks(l.dp * l.cp, 120, [&](Transport& world) {
    Context ctx(backend, 1);
    ProcessMesh mesh(settle_mesh(config.parallel, world.size()), world);
    MeshRanks mesh_ranks(mesh, ctx, config.parallel);
    const Ranks ranks = mesh_ranks.ranks();
    AssembledModel model =
        assemble_model(config.model, dtype, true, Memory::kHost,
                       std::make_unique<AllToAllExchange>(mesh.ep(), goes == 1 ? kNever : 0));
    copy_weights(*whole, *model);
    TrainStep step(*model, ctx, config, ranks);
    const StepFigures figures = step.compute(ranks.share.take(FixedRows(rows), 0, config));
    if (world.rank() != asked) return;
    result.loss = figures.loss;
    result.messages = mesh.ep().traffic().messages;
    for (const Param* p : model->params()) {
      if (!p->grad) continue;
      copy(p->grad, result.gradients.emplace_back(p->grad.dtype, p->grad.shape).view());
    }
  });
  return result;
}

class Goes : public ::testing::TestWithParam<GoesLayout> {};

TEST_P(Goes, TwoGiveTheBitsOfOne) {
  const GoesLayout& l = GetParam();
  for (const auto& [dtype, backend] :
       {std::pair(Dtype::kF32, Backend::kCpu), std::pair(Dtype::kF64, Backend::kReference)}) {
    for (int rank = 0; rank < l.dp * l.cp; ++rank) {
      SCOPED_TRACE(fmt::format("rank {} {}", rank, name_of(backend)));
      const GoesStep one = step_with_goes(l, 1, dtype, backend, rank),
                     two = step_with_goes(l, 2, dtype, backend, rank);
      EXPECT_EQ(two.loss, one.loss);
      EXPECT_EQ(two.messages > one.messages, l.experts > l.ep) << "a second go needs a rank with two experts";
      ASSERT_EQ(two.gradients.size(), one.gradients.size());
      ASSERT_FALSE(one.gradients.empty());
      for (size_t i = 0; i < one.gradients.size(); ++i) {
        const View x = one.gradients[i].view(), y = two.gradients[i].view();
        EXPECT_EQ(std::memcmp(x.data, y.data, static_cast<size_t>(x.bytes())), 0) << "parameter " << i;
      }
    }
  }
}

TEST(GoesOf, ShortMessagesGoAtOnce) {
  const int64_t least = AllToAllExchange::kLeastMessage;
  EXPECT_EQ(AllToAllExchange::goes_of(8, 4, 2 * 16 * least), 2);
  EXPECT_EQ(AllToAllExchange::goes_of(8, 4, 2 * 16 * least - 1), 1);
  EXPECT_EQ(AllToAllExchange::goes_of(4, 4, 1000 * least), 1) << "a second go needs a rank with two experts";
}

INSTANTIATE_TEST_SUITE_P(Layouts, Goes,
                         ::testing::Values(GoesLayout{2, 1, 2, 5}, GoesLayout{1, 2, 2, 4},
                                           GoesLayout{2, 2, 4, 8}, GoesLayout{1, 3, 3, 5, 0.7},
                                           GoesLayout{1, 4, 4, 4}),
                         [](const auto& info) {
                           return fmt::format("dp{}cp{}ep{}_of_{}", info.param.dp, info.param.cp,
                                              info.param.ep, info.param.experts);
                         });

}  // namespace
}  // namespace natrix::test
