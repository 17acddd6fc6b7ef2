// parallel.zero: 1 shards the optimizer's state over ranks. It changes neither results nor checkpoints.
#include <cstring>
#include <gtest/gtest.h>

#include "core/hf/hf_checkpoint.h"
#include "core/train/optimizer.h"
#include "distributed/nccl_communicator.h"
#include "distributed/thread_communicator.h"
#include "tests/files.h"
#include "tests/kernels/cases.h"
#include "tests/launch/ranks.h"

namespace natrix::test {
namespace {

constexpr int64_t kZeroSteps = 3;

struct ZeroCase {
  std::string name;
  int dp = 1, cp = 1, ep = 1;
  int64_t bucket = 1000;
};

std::ostream& operator<<(std::ostream& out, const ZeroCase& c) {
  return out << c.name;
}

ExperimentConfig experiment(const ZeroCase& c, int64_t zero, double clip) {
  ExperimentConfig e;
  e.model = small_config();
  e.model.moe.bias_update_rate = 0.01;  // lies between weights, and is nobody's to update
  e.model.moe.shared_experts = 1;
  e.sequence.length = 24;
  e.sequence.chunk = 10;
  e.train.batch_size = 8;
  e.optimizer.clip_grad_norm = clip;
  e.parallel.dp = c.dp;
  e.parallel.cp = c.cp;
  e.parallel.ep = c.ep;
  e.parallel.bucket = c.bucket;
  e.parallel.zero = zero;
  return e;
}

/// Where ranks compute, and how what they compute meets.
struct Machine {
  Backend backend = Backend::kCpu;
  Dtype dtype = Dtype::kF32;  // of activations
  DeviceLink link = DeviceLink::kStaged;
};

struct Trained {
  std::vector<double> losses, norms;
  std::map<std::string, Buffer> tensors;  // weights and moments, whole
  std::vector<int64_t> state_bytes;       // of each rank
  std::map<std::string, Buffer> masters,
      rounded;  // of rank 0: weights that have a copy in bf16, and the copies
};

void take(std::map<std::string, Buffer>& into, const std::string& name, View v) {
  Buffer& b = into[name] = Buffer(v.dtype, v.shape);
  copy(v, b.view());
}

/// Moments of the whole model, as a process that is alone reads and writes them.
void take_moments(const ExperimentConfig& config, const std::string& dir,
                  std::map<std::string, Buffer>& into) {
  LocalGradients alone;
  AssembledModel model = assemble_model(config.model, Dtype::kF32, true);
  Optimizer optimizer(config.optimizer, model->params(), alone);
  optimizer.load_state(StoredTensors(dir, "optimizer"));
  for (const NamedTensor& m : optimizer.state(model->params())) take(into, m.name, m.view);
}

/// Steps of one rank; what it leaves is whole on rank 0. `from`: a directory of moments to start from, or "".
Trained train(const ExperimentConfig& config, Transport* world, const SmallBatch& rows,
              const std::string& from, const std::string& to, const Machine& on) {
  Context ctx(on.backend, 1);
  RunMesh mesh(config, ctx, world, on.link);
  const Ranks ranks = mesh.ranks();
  AssembledModel model = assemble_model(config.model, on.dtype, true, ctx.memory(), mesh.exchange());
  initialise(model->params(), 7, 1);
  Optimizer optimizer(config.optimizer, model->params(), ranks.gradients);
  if (!from.empty()) optimizer.load_state(StoredTensors(from, "optimizer"));
  TrainStep step(*model, ctx, config, ranks);
  Trained t;
  for (int64_t s = 0; s < kZeroSteps; ++s) {
    t.losses.push_back(step.compute(ranks.share.take(FixedRows(rows), s, config)).loss);
    t.norms.push_back(optimizer.gradient_norm(ctx));
    optimizer.update(ctx, 0.01, t.norms.back(), s + 1);
    model->after_step(step.tally());
  }
  t.state_bytes = {optimizer.bytes()};
  std::vector<Param*> written;  // by the first of those that hold the same
  for (Param* p : model->params()) {
    if (ranks.placement.place(*p).index == 0) written.push_back(p);
  }
  write_part(to, "optimizer", ranks.world.rank(), optimizer.state(written));
  ranks.world.barrier(ctx);  // all have
  if (ranks.world.rank() == 0) {
    join_parts(to, "optimizer");
    take_moments(config, to, t.tensors);
  }
  for (const Param* p : model->params()) {
    if (p->rounded && ranks.world.rank() == 0) take(t.rounded, p->name, p->rounded);
    if (p->rounded && ranks.world.rank() == 0) take(t.masters, p->name, p->value);
    const Buffer gathered = p->spread_of > 0 ? ranks.placement.whole(ctx, *p, p->value) : Buffer();
    if (ranks.world.rank() == 0) take(t.tensors, p->name, gathered ? gathered.view() : p->value);
  }
  return t;
}

Trained train_on_ranks(const ExperimentConfig& config, int ranks, const std::string& moments = "",
                       const std::string& left = "", const Machine& on = {}) {
  const ScratchDir own;
  const std::string to = left.empty() ? own.path() : left;
  const SmallBatch rows = small_batch(8, 24, *config.model.vocab_size);
  if (ranks == 1) return train(config, nullptr, rows, moments, to, on);
  Trained first;
  std::vector<int64_t> bytes(static_cast<size_t>(ranks));
  run_ranks(ranks, 120, [&](Transport& world) {
    Trained mine = train(config, &world, rows, moments, to, on);
    bytes[static_cast<size_t>(world.rank())] = mine.state_bytes.front();
    if (world.rank() == 0) first = std::move(mine);
  });
  first.state_bytes = bytes;
  return first;
}

/// Tensors that are not the same to the last bit.
std::vector<std::string> changed(const Trained& a, const Trained& b) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : a.tensors) {
    const View x = tensor.view(), y = b.tensors.at(name).view();
    if (!(x.shape == y.shape) || std::memcmp(x.data, y.data, static_cast<size_t>(x.bytes())) != 0) {
      names.push_back(name);
    }
  }
  return names;
}

class Zero : public ::testing::TestWithParam<ZeroCase> {};

TEST_P(Zero, TrainsTheSameWeights) {
  const ZeroCase& c = GetParam();
  const Trained without = train_on_ranks(experiment(c, 0, 0), c.dp * c.cp);
  const Trained with = train_on_ranks(experiment(c, 1, 0), c.dp * c.cp);
  ASSERT_EQ(with.tensors.size(), without.tensors.size());
  EXPECT_EQ(changed(with, without), std::vector<std::string>{});
  EXPECT_EQ(with.losses, without.losses);
  for (size_t s = 0; s < with.norms.size(); ++s) {
    EXPECT_NEAR(with.norms[s], without.norms[s], 1e-12 * without.norms[s]);
  }
}

// The norm adds up the same squares in another order, and with it the step's scale may change its last bit.
TEST_P(Zero, ClipsAsWithout) {
  const ZeroCase& c = GetParam();
  const Trained without = train_on_ranks(experiment(c, 0, 0.1), c.dp * c.cp);
  const Trained with = train_on_ranks(experiment(c, 1, 0.1), c.dp * c.cp);
  for (size_t s = 0; s < with.losses.size(); ++s) {
    EXPECT_GT(with.norms[s], 0.2) << "nothing was clipped";
    EXPECT_NEAR(with.losses[s], without.losses[s], 1e-6 * without.losses[s]);
  }
  for (const auto& [name, tensor] : with.tensors) {
    EXPECT_LT(relative_difference(tensor.view(), without.tensors.at(name).view()), 1e-5) << name;
  }
}

TEST_P(Zero, SharesOutTheState) {
  const ZeroCase& c = GetParam();
  const int ranks = c.dp * c.cp;
  const Trained without = train_on_ranks(experiment(c, 0, 0), ranks);
  const Trained with = train_on_ranks(experiment(c, 1, 0), ranks);
  int64_t held = 0, whole = 0;
  for (size_t r = 0; r < with.state_bytes.size(); ++r) {
    held += with.state_bytes[r];
    EXPECT_LT(with.state_bytes[r], without.state_bytes[r]) << "rank " << r;
  }
  for (const auto& [name, tensor] : with.tensors) {
    if (name.starts_with("m.") || name.starts_with("v.")) whole += tensor.bytes();
  }
  EXPECT_GE(held, whole);                        // nothing twice,
  EXPECT_LT(held, whole + whole / 10 + 20'000);  // but what fills cache lines
}

TEST_P(Zero, StateIsThatOfAnyMesh) {
  const ZeroCase& c = GetParam();
  const ScratchDir shares_dir, whole_dir;
  const std::string &from_shares = shares_dir.path(), &from_whole = whole_dir.path();
  train_on_ranks(experiment(c, 1, 0), c.dp * c.cp, "", from_shares);
  train_on_ranks(experiment(c, 0, 0), c.dp * c.cp, "", from_whole);
  const Trained shares = train_on_ranks(experiment(c, 1, 0), c.dp * c.cp, from_whole);
  const Trained whole = train_on_ranks(experiment(c, 0, 0), c.dp * c.cp, from_shares);
  EXPECT_EQ(changed(shares, whole), std::vector<std::string>{});
  const Trained alone = train_on_ranks(experiment({.name = "alone"}, 1, 0), 1, from_shares);
  for (size_t s = 0; s < alone.losses.size(); ++s) {
    EXPECT_NEAR(alone.losses[s], shares.losses[s], 1e-5 * alone.losses[s]);
  }
}

bool brief(const ZeroCase& c) {
  return c.bucket != 64 && (c.ep == 1 || c.cp > 1);
}

// By way of the host the same bits; NCCL adds a share in another order than the same stretch of a bucket.
TEST_P(Zero, CudaTrainsTheSameWeights) {
  const ZeroCase& c = GetParam();
  if (!has_cuda() || !brief(c)) GTEST_SKIP() << "no device, or minutes on an emulated one";
  for (const DeviceLink link : {DeviceLink::kStaged, DeviceLink::kNccl}) {
    if (link == DeviceLink::kNccl && !built_with_nccl()) continue;
    const Machine on{.backend = Backend::kCuda, .link = link};
    const Trained without = train_on_ranks(experiment(c, 0, 0), c.dp * c.cp, "", "", on);
    const Trained with = train_on_ranks(experiment(c, 1, 0), c.dp * c.cp, "", "", on);
    ASSERT_EQ(with.tensors.size(), without.tensors.size());
    if (link == DeviceLink::kStaged) {
      EXPECT_EQ(changed(with, without), std::vector<std::string>{});
    }
    for (size_t s = 0; s < with.losses.size(); ++s)
      EXPECT_NEAR(with.losses[s], without.losses[s], 1e-5 * without.losses[s]);
  }
}

// What one rank updates reaches the copies that the others multiply with.
TEST_P(Zero, CudaRoundsWhatOthersUpdate) {
  const ZeroCase& c = GetParam();
  if (!has_cuda() || !brief(c)) GTEST_SKIP() << "no device, or minutes on an emulated one";
  const Trained t = train_on_ranks(experiment(c, 1, 0), c.dp * c.cp, "", "",
                                   {.backend = Backend::kCuda, .dtype = Dtype::kBF16});
  ASSERT_FALSE(t.rounded.empty());
  for (const auto& [name, rounded] : t.rounded) {
    const Buffer want(Dtype::kBF16, rounded.view().shape);
    convert(t.masters.at(name).view(), want.view());
    EXPECT_EQ(std::memcmp(rounded.view().data, want.view().data, static_cast<size_t>(want.bytes())), 0)
        << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Meshes, Zero,
                         ::testing::Values(ZeroCase{.name = "dp2", .dp = 2}, ZeroCase{.name = "cp2", .cp = 2},
                                           ZeroCase{.name = "dp4_one_bucket", .dp = 4, .bucket = 0},
                                           ZeroCase{.name = "dp4_tiny_buckets", .dp = 4, .bucket = 64},
                                           ZeroCase{.name = "dp4_ep2", .dp = 4, .ep = 2},
                                           ZeroCase{.name = "ep4", .dp = 4, .ep = 4},
                                           ZeroCase{.name = "all_axes", .dp = 2, .cp = 2, .ep = 2}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace natrix::test
