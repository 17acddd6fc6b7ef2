// Several ranks carry states from step to step: losses equal those of one process, and any mesh can resume
// the checkpoints.
#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/carry/state_rows.h"
#include "core/train/optimizer.h"
#include "distributed/mpi_communicator.h"
#include "distributed/thread_communicator.h"
#include "tests/launch/ranks.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kCarriedRows = 4, kCarriedLength = 24, kCarriedSteps = 4;

/// Row b of step n goes on where row b of step n − 1 ended, but in the third step everything starts anew.
class OneTextARow final : public BatchSource {
 public:
  Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const override {
    Batch b;
    const auto piece = [&](const Buffer& all) {
      Buffer part(all.view().dtype, {row_count, kCarriedLength});
      copy(all.view().row_range(row_begin, row_count).columns(step * kCarriedLength, kCarriedLength),
           part.view());
      return part;
    };
    b.tokens = piece(text_.tokens);
    b.targets = piece(text_.targets);
    b.doc_start = piece(text_.doc_start);
    b.continues = step != 0 && step != 2;
    return b;
  }
  int64_t batches_per_epoch() const override { return kCarriedSteps; }
  std::string identity() const override { return {}; }

 private:
  SmallBatch text_ = small_batch(kCarriedRows, kCarriedSteps* kCarriedLength, 17, 3, 0.01);
};

struct CarriedLayout {
  int dp = 1, cp = 1, ep = 1;
  CarryLinkKind link = CarryLinkKind::kRelay;
  int64_t chunk = 8, micro = kCarriedRows;
  GradientMode gradient = GradientMode::kExact;
  int64_t moves_at = -1;  // a step before which all states go to rank 0 and back, as through a checkpoint
};

ExperimentConfig experiment_of(const CarriedLayout& l) {
  ExperimentConfig c;
  c.model = small_config();
  c.sequence = {.length = kCarriedLength, .chunk = l.chunk, .gradient = l.gradient, .carry_state = true};
  c.train.batch_size = kCarriedRows;
  c.train.micro_batch_size = l.micro / l.dp;
  c.parallel = {.dp = l.dp, .cp = l.cp, .ep = l.ep, .cp_link = l.link, .timeout = 120};
  return c;
}

struct CarriedRun {
  std::vector<double> losses, norms;
  CarryStates end;  // of all rows, after the last step
};

CarriedRun run_carried(const CarriedLayout& l, Model& whole) {
  const ExperimentConfig config = experiment_of(l);
  CarriedRun result;
  CarryStates file;
  const auto body = [&](Transport* world) {
    Context ctx(Backend::kReference, 1);
    RunMesh mesh(config, ctx, world);
    const Ranks ranks = mesh.ranks();
    AssembledModel model = assemble_model(config.model, whole.dtype(), true, ctx.memory(), mesh.exchange());
    copy_weights(whole, *model);
    TrainStep step(*model, ctx, config, ranks);
    const Optimizer optimizer(config.optimizer, model->params(), ranks.gradients);
    const OneTextARow source;
    CarriedRun run;
    for (int64_t n = 0; n < kCarriedSteps; ++n) {
      if (n == l.moves_at) {
        CarryStates all = step.carried_rows();
        if (ranks.world.size() > 1) {  // every rank reads the file
          if (ranks.world.rank() == 0) file = copy_of(all);
          ranks.world.barrier(ctx);
          all = copy_of(file);
        }
        step.carry_rows({});
        step.carry_rows(all);
      }
      run.losses.push_back(step.compute(ranks.share.take(source, n, config)).loss);
      run.norms.push_back(optimizer.gradient_norm(ctx));
    }
    run.end = step.carried_rows();
    if (ranks.world.rank() == 0) result = std::move(run);
  };
  check_layout(config, needs_of(whole), settle_mesh(config.parallel, l.dp * l.cp));
  if (l.dp * l.cp == 1) {
    body(nullptr);
  } else {
    run_ranks(l.dp * l.cp, 120, [&](Transport& world) { body(&world); });
  }
  return result;
}

TEST(CarriedOverRanks, LossesAndStatesOfOneProcess) {
  AssembledModel whole = small_model(small_config(), Dtype::kF64);
  constexpr CarryLinkKind kGather = CarryLinkKind::kScan;
  for (const GradientMode gradient : {GradientMode::kExact, GradientMode::kTruncated}) {
    const CarriedRun want = run_carried({.gradient = gradient}, *whole);
    ASSERT_EQ(want.losses.size(), 4u);
    EXPECT_GT(want.end.bytes(), 0);
    for (CarriedLayout l :
         {CarriedLayout{.micro = 1, .moves_at = 3}, CarriedLayout{.dp = 2}, CarriedLayout{.dp = 4, .ep = 4},
          CarriedLayout{.dp = 2, .micro = 2, .moves_at = 1}, CarriedLayout{.cp = 2, .chunk = 4, .micro = 2},
          CarriedLayout{.cp = 3, .chunk = 8},
          CarriedLayout{.cp = 2, .link = kGather, .chunk = 4, .micro = 1, .moves_at = 3},
          CarriedLayout{.cp = 3, .ep = 3, .link = kGather, .chunk = 8},
          CarriedLayout{.dp = 2, .cp = 2, .ep = 4, .chunk = 4, .micro = 2, .moves_at = 3}}) {
      l.gradient = gradient;
      SCOPED_TRACE(fmt::format("dp {} cp {} ep {} micro {}", l.dp, l.cp, l.ep, l.micro));
      const CarriedRun got = run_carried(l, *whole);
      for (size_t n = 0; n < want.losses.size(); ++n) {
        EXPECT_NEAR(got.losses[n], want.losses[n], 1e-12 * want.losses[n]) << "step " << n;
        // Truncation cuts gradients between the chunks of ranks, too.
        if (gradient == GradientMode::kTruncated) continue;
        EXPECT_NEAR(got.norms[n], want.norms[n], 1e-10 * want.norms[n]) << "step " << n;
      }
      ASSERT_EQ(got.end.entries().size(), want.end.entries().size());
      for (const auto& [key, state] : want.end.entries()) {
        EXPECT_LT(relative_difference(got.end.at(key), state.view()), 1e-12) << "layer " << key.layer;
      }
    }
  }
}

// That the test above sees anything: without the states of the step before, losses are others.
TEST(CarriedOverRanks, StatesMatter) {
  AssembledModel whole = small_model(small_config(), Dtype::kF64);
  const CarriedRun carried = run_carried({}, *whole);
  const ExperimentConfig config = [] {
    ExperimentConfig c = experiment_of({});
    c.sequence.carry_state = false;
    return c;
  }();
  Context ctx(Backend::kReference, 1);
  TrainStep step(*whole, ctx, config);
  const OneTextARow source;
  for (int64_t n = 0; n < kCarriedSteps; ++n) {
    const double loss = step.compute(source.batch(n, 0, kCarriedRows)).loss;
    const double difference = std::abs(loss - carried.losses[static_cast<size_t>(n)]);
    if (n == 0 || n == 2) {
      EXPECT_EQ(difference, 0) << n;
    } else {
      EXPECT_GT(difference, 1e-4) << n;
    }
  }
}

TEST(StateRows, JoinAndPart) {
  CarryStates a, b;
  Random random;
  const CarryKey key{3, 1};
  a.put(key, random.normal(Dtype::kF32, {2, 3, 4}).view());
  b.put(key, random.normal(Dtype::kF32, {1, 3, 4}).view());
  std::vector<CarryStates> parts;
  parts.push_back(copy_of(a));
  parts.push_back(copy_of(b));
  const CarryStates all = join_rows(parts);
  EXPECT_EQ(all.at(key).shape, (Shape{3, 3, 4}));
  EXPECT_EQ(relative_difference(rows_of(all, 0, 2, Memory::kHost).at(key), a.at(key)), 0);
  EXPECT_EQ(relative_difference(rows_of(all, 2, 1, Memory::kHost).at(key), b.at(key)), 0);
  EXPECT_TRUE(join_rows({}).empty());
}

/// In f64: as in FourRanksFollowOneProcess.
class CarriedUnderMpirun : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  }
  Outcome train(int ranks, const std::string& name, const std::vector<std::string>& more) const {
    std::vector<std::string> all = {
        "device.threads=1",          "train.batch_size=4",       "train.steps=12",
        "checkpoint.every=4",        "device.backend=reference", "device.dtype=fp64",
        "sequence.carry_state=true", "data.order=sequential",    "data.documents=joined"};
    all.insert(all.end(), more.begin(), more.end());
    if (ranks == 1) return tiny_.train(name, all);
    std::vector<std::string> words = mpirun_words(ranks);
    words.insert(words.end(), {"train", tiny_.config(), "run.dir=" + (tiny_ / name), "parallel.timeout=20s"});
    words.insert(words.end(), all.begin(), all.end());
    return any_program(words);
  }
  /// As a run looks that was lost after `step`.
  void lose_after(const std::string& name, int64_t step) const {
    for (int64_t s = step + 4; s <= 12; s += 4) {
      fs::remove_all(tiny_ / fmt::format("{}/checkpoints/step-{:08}", name, s));
    }
    write_file(tiny_ / (name + "/checkpoints/latest"), fmt::format("step-{:08}\n", step));
  }
  TinyRun tiny_;
};

TEST_F(CarriedUnderMpirun, ARunGoesOnUnderAnyMesh) {
  ASSERT_EQ(train(1, "one", {}).status, 0);
  const Outcome first = train(4, "moved", {"parallel.dp=2", "parallel.cp=2", "parallel.ep=4"});
  ASSERT_EQ(first.status, 0) << first.err;
  lose_after("moved", 4);
  const Outcome second =
      train(4, "moved", {"parallel.cp=4", "parallel.cp_link=scan", "train.micro_batch_size=2"});
  ASSERT_EQ(second.status, 0) << second.err;
  EXPECT_NE(second.err.find("going on after step 4/12"), std::string::npos) << second.err;
  lose_after("moved", 8);
  ASSERT_EQ(train(1, "moved", {}).status, 0);
  const auto got = curve(tiny_ / "moved"), want = curve(tiny_ / "one");
  ASSERT_EQ(got.size(), 12u);
  ASSERT_EQ(want.size(), 12u);
  for (size_t i = 0; i < 12; ++i) {
    const auto x = nlohmann::json::parse(got[i]), y = nlohmann::json::parse(want[i]);
    EXPECT_NEAR(x["loss"].get<double>(), y["loss"].get<double>(), 1e-9 * y["loss"].get<double>()) << i;
  }
  // In one process, too, micro-batches may be others after a resumption.
  lose_after("moved", 8);
  ASSERT_EQ(train(1, "moved", {"train.micro_batch_size=1"}).status, 0);
  lose_after("moved", 8);
  const Outcome other = train(1, "moved", {"train.batch_size=2"});
  EXPECT_EQ(other.status, 2) << other.err;
  EXPECT_NE(other.err.find("train.batch_size must stay as it was"), std::string::npos) << other.err;
}

}  // namespace
}  // namespace natrix::test
