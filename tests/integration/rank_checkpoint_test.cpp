// Ranks write a checkpoint together, and any other mesh can resume from it.
#include <filesystem>
#include <gtest/gtest.h>
#include <set>

#include "core/hf/hf_formats.h"
#include "core/train/run_checkpoint.h"
#include "distributed/thread_communicator.h"
#include "tests/files.h"
#include "tests/launch/ranks.h"

namespace natrix::test {
namespace {

ExperimentConfig mesh_of(int64_t dp, int64_t cp, int64_t ep, int64_t zero = 0) {
  ExperimentConfig e;
  e.model = small_config();
  e.model.moe.num_experts = 6;
  e.model.moe.bias_update_rate = 0.01;
  e.sequence.length = 24;
  e.sequence.chunk = 24 / cp;
  e.train.batch_size = 4;
  e.parallel.dp = dp;
  e.parallel.cp = cp;
  e.parallel.ep = ep;
  e.parallel.zero = zero;
  e.parallel.bucket = 1000;
  return e;
}

/// One rank goes on from the newest checkpoint under `root`, if there is one, trains and saves. The loss of
/// each step.
std::vector<double> go_on(const ExperimentConfig& config, Transport* world, const std::string& root,
                          int64_t steps) {
  Context ctx(Backend::kCpu, 1);
  RunMesh mesh(config, ctx, world);
  const Ranks ranks = mesh.ranks();
  AssembledModel model = assemble_model(config.model, Dtype::kF32, true, Memory::kHost, mesh.exchange());
  AssembledModel whole = describe_model(config.model);
  initialise(model->params(), 7, 1);
  Optimizer optimizer(config.optimizer, model->params(), ranks.gradients);
  TrainStep step(*model, ctx, config, ranks);
  RunCheckpoint checkpoint(root, {.config = hf_config_json(config.model, {}, "")}, *model, *whole, optimizer,
                           step, ranks.world, ranks.placement);
  RunPosition at =
      checkpoint.resume(ctx, [](const std::string& why) { ADD_FAILURE() << why; }).value_or(RunPosition{});
  const SmallBatch rows = small_batch(4, 24, *config.model.vocab_size);
  std::vector<double> losses;
  for (int64_t s = 0; s < steps; ++s) {
    const StepFigures figures = step.compute(ranks.share.take(FixedRows(rows), at.step, config));
    losses.push_back(figures.loss);
    optimizer.update(ctx, 0.01, optimizer.gradient_norm(ctx), ++at.step);
    at.tokens += figures.tokens;
    model->after_step(step.tally());
  }
  checkpoint.save(ctx, at, 10);
  return losses;
}

std::vector<double> go_on(const ExperimentConfig& config, const std::string& root, int64_t steps) {
  const auto ranks = static_cast<int>(*config.parallel.dp * config.parallel.cp);
  if (ranks == 1) return go_on(config, nullptr, root, steps);
  std::vector<double> losses;
  run_ranks(ranks, 120, [&](Transport& world) {
    std::vector<double> mine = go_on(config, &world, root, steps);
    if (world.rank() == 0) losses = std::move(mine);
  });
  return losses;
}

void copy_run(const ScratchDir& from, const ScratchDir& to) {
  std::filesystem::copy(from.path(), to.path(), std::filesystem::copy_options::recursive);
}

TEST(RankCheckpoint, GoesOnUnderTheSameMeshBitForBit) {
  for (const int64_t zero : {0, 1}) {
    const ExperimentConfig config = mesh_of(2, 2, 2, zero);
    const ScratchDir whole, parts;
    const std::vector<double> want = go_on(config, whole.path(), 4);
    go_on(config, parts.path(), 2);
    const std::vector<double> got = go_on(config, parts.path(), 2);
    EXPECT_EQ(got, std::vector<double>(want.begin() + 2, want.end())) << "zero " << zero;
    for (const char* file : {"model-00001-of-00004.safetensors", "model-00004-of-00004.safetensors",
                             "trainer/optimizer-00004-of-00004.safetensors"}) {
      const std::string name = "/step-00000004/" + std::string(file);
      EXPECT_EQ(read_file(parts.path() + name), read_file(whole.path() + name)) << name << ", zero " << zero;
    }
  }
}

TEST(RankCheckpoint, GoesOnUnderAnyOtherMesh) {
  const ScratchDir first, same, moved;
  go_on(mesh_of(4, 1, 2), first.path(), 2);
  copy_run(first, same);
  copy_run(first, moved);
  const std::vector<double> want = go_on(mesh_of(4, 1, 2), same.path(), 3);
  // One after the other, each from where the one before left off.
  const std::vector<ExperimentConfig> meshes = {mesh_of(1, 4, 1), mesh_of(1, 1, 1), mesh_of(2, 2, 4, 1)};
  for (size_t i = 0; i < meshes.size(); ++i) {
    EXPECT_NEAR(go_on(meshes[i], moved.path(), 1).front(), want[i], 1e-6 * want[i]) << "mesh " << i;
  }
  EXPECT_TRUE(std::filesystem::exists(moved / "step-00000004/model.safetensors")) << "that of one process";
  EXPECT_TRUE(std::filesystem::exists(moved / "step-00000004/trainer/optimizer.safetensors"));
}

// Megatron-Bridge 1716: a checkpoint written under expert parallelism lost experts.
TEST(RankCheckpoint, EveryRankWritesItsOwnExpertsAndAPartOfTheRest) {
  const ScratchDir dir;
  std::set<std::string> written;  // of experts, by all ranks
  go_on(mesh_of(4, 1, 2), dir.path(), 1);
  for (int rank = 0; rank < 4; ++rank) {
    const Safetensors file(dir /
                           ("step-00000001/model-0000" + std::to_string(rank + 1) + "-of-00004.safetensors"));
    int experts = 0, others = 0;
    for (const auto& [name, view] : file.tensors()) {
      const size_t at = name.find(".experts.");
      ++(at == std::string::npos ? others : experts);
      if (at == std::string::npos) continue;
      written.insert(name);
      EXPECT_EQ((name[at + 9] - '0') / 3, rank % 2) << name << ": of rank " << rank;
    }
    EXPECT_GT(experts, 0) << "rank " << rank;
    EXPECT_GT(others, 0) << "rank " << rank;
  }
  EXPECT_EQ(written.size(), 2u * 6 * 3) << "layers, experts, projections";
  EXPECT_FALSE(std::filesystem::exists(dir / "step-00000001/model.safetensors"));
}

// Granite's files have one tensor for the experts of all ranks.
TEST(RankCheckpoint, TensorsOfAllExpertsAreGatheredAndWrittenWhole) {
  const auto granite = [](ExperimentConfig e) {
    e.model.pattern = "SE";
    e.model.mamba2.head_dim = 4;
    e.model.mamba2.d_state = 5;
    e.model.moe.renormalize = true;
    e.model.moe.shared_experts = 1;
    e.model.moe.bias_update_rate = 0;
    return e;
  };
  const ExperimentConfig spread = granite(mesh_of(4, 1, 2)), alone = granite(mesh_of(1, 1, 1));
  ASSERT_EQ(hf_family(spread.model).model_type, "granitemoehybrid");
  const ScratchDir parts, whole;
  const std::vector<double> first = go_on(spread, parts.path(), 2), want = go_on(alone, whole.path(), 2);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(first[i], want[i], 1e-6 * want[i]);
  const StoredTensors a(parts / "step-00000002", "model"), b(whole / "step-00000002", "model");
  EXPECT_EQ(a.tensors().size(), b.tensors().size());
  for (const auto& [name, tensor] : b.tensors()) {
    ASSERT_TRUE(a.contains(name)) << name;
    EXPECT_LT(relative_difference(a.at(name).view, tensor.view), 1e-3) << name;
  }
  EXPECT_EQ(a.at("model.layers.0.block_sparse_moe.input_linear.weight").view.shape, Shape({6, 14, 12}));
  const std::vector<double> on = go_on(alone, whole.path(), 1);
  EXPECT_NEAR(go_on(spread, parts.path(), 1).front(), on.front(), 1e-5 * on.front());
}

TEST(RankCheckpoint, AMomentThatIsNotAllThereIsRefused) {
  const ScratchDir dir;
  LocalGradients alone;
  const ExperimentConfig config = mesh_of(1, 1, 1);
  AssembledModel model = assemble_model(config.model, Dtype::kF32, true);
  Optimizer optimizer(config.optimizer, model->params(), alone);
  std::vector<NamedTensor> tensors = optimizer.state(model->params());
  const NamedTensor last = tensors.back();
  tensors.pop_back();
  const int64_t n = last.view.count();
  const auto load_with = [&](const std::vector<std::pair<std::string, int64_t>>& stretches) -> std::string {
    std::vector<NamedTensor> some = tensors;
    for (const auto& [at, count] : stretches) {
      some.push_back({last.name + at, View(last.view.data, Dtype::kF32, {count})});
    }
    write_tensors(dir.path(), "optimizer", some);
    try {
      optimizer.load_state(StoredTensors(dir.path(), "optimizer"));
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(load_with({{"@0", 1}, {"@1", n - 1}}), "");
  const std::string refused = load_with({});
  EXPECT_NE(refused.find("is not there, or not all of it"), std::string::npos) << refused;
  EXPECT_NE(refused.find(last.name), std::string::npos) << refused;
  EXPECT_NE(load_with({{"@0", 1}, {"@2", n - 2}}).find("not all of it"), std::string::npos);
  for (const auto& [at, count] : {std::pair("@1", n), std::pair("@0x", n), std::pair("@-1", n),
                                  std::pair("@99999999999999999999", int64_t{1})}) {
    EXPECT_NE(load_with({{at, count}}).find(last.name + at), std::string::npos) << at;
  }
}

}  // namespace
}  // namespace natrix::test
