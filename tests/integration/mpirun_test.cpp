// natrix train under a real mpirun: the same curve as one process, one checkpoint of all, resumed under other
// meshes, and failures that end every rank.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <thread>

#include "core/files/shards.h"
#include "distributed/mpi_communicator.h"
#include "tests/kernels/cases.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;

class MpiRun : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  }

  Outcome train(int ranks, const std::string& name, std::vector<std::string> overrides = {},
                const ProgramOptions& options = {}) const {
    std::vector<std::string> words = mpirun_words(ranks);
    words.insert(words.end(),
                 {"train", tiny_.config(), "run.dir=" + (tiny_ / name), "device.threads=1",
                  "train.batch_size=4", "train.steps=12", "checkpoint.every=4", "parallel.timeout=20s"});
    words.insert(words.end(), overrides.begin(), overrides.end());
    return any_program(words, options);
  }
  Outcome alone(const std::string& name, std::vector<std::string> overrides = {}) const {
    overrides.insert(overrides.end(),
                     {"device.threads=1", "train.batch_size=4", "train.steps=12", "checkpoint.every=4"});
    return tiny_.train(name, overrides);
  }

  /// Losses, gradient norms and auxiliary terms of two runs, step by step.
  void expect_same_curve(const std::string& got, const std::string& want, double tolerance,
                         size_t lines = SIZE_MAX) const {
    const auto a = curve(tiny_ / got), b = curve(tiny_ / want);
    ASSERT_EQ(a.size(), b.size());
    ASSERT_FALSE(a.empty());
    for (size_t i = 0; i < std::min(lines, a.size()); ++i) {
      const auto x = nlohmann::json::parse(a[i]), y = nlohmann::json::parse(b[i]);
      for (const char* figure :
           {"step", "loss", "grad_norm", "aux_loss", "z_loss", "eval_loss", "eval_bits_per_byte"}) {
        if (!y.contains(figure)) continue;
        EXPECT_NEAR(x[figure].get<double>(), y[figure].get<double>(),
                    tolerance * (1 + std::abs(y[figure].get<double>())))
            << got << " line " << i << " " << figure;
      }
    }
  }

  TinyRun tiny_;
};

// In f64: in f32 the last bit of a sum over ranks flips a close choice of expert after some steps, and curves
// part.
TEST_F(MpiRun, FourRanksFollowOneProcess) {
  write_file(tiny_ / "held-out", some_text(900, 9));
  const std::vector<std::string> exact = {"device.backend=reference", "device.dtype=fp64",
                                          "data.eval=[" + (tiny_ / "held-out") + "]", "train.eval_every=6"};
  ASSERT_EQ(alone("one", exact).status, 0);
  const std::vector<std::vector<std::string>> layouts = {
      {"parallel.dp=4", "parallel.ep=2", "parallel.bucket=1KiB"},
      {"parallel.cp=4"},
      {"parallel.cp=2", "parallel.ep=4", "parallel.cp_link=scan"}};
  for (size_t i = 0; i < layouts.size(); ++i) {
    const std::string name = fmt::format("layout{}", i);
    std::vector<std::string> overrides = layouts[i];
    overrides.insert(overrides.end(), exact.begin(), exact.end());
    const Outcome r = train(4, name, overrides);
    ASSERT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(r.out, "");
    expect_same_curve(name, "one", 1e-9);
    EXPECT_NE(read_file(tiny_ / (name + "/metrics.jsonl")).find("eval_loss"), std::string::npos);
    EXPECT_EQ(checkpoints(tiny_ / name), checkpoints(tiny_ / "one"));
    // Said once, by rank 0.
    EXPECT_EQ(r.err.find("done; the report"), r.err.rfind("done; the report")) << r.err;
    EXPECT_NE(r.err.find("4 ranks: dp"), std::string::npos) << r.err;
  }
  // What was written is a model like any other, with all of its experts, a file from each rank.
  const StoredTensors four(tiny_ / "layout0/checkpoints/step-00000012", "model"),
      one(tiny_ / "one/checkpoints/step-00000012", "model");
  EXPECT_TRUE(fs::exists(tiny_ / "layout0/checkpoints/step-00000012/model-00004-of-00004.safetensors"));
  EXPECT_TRUE(fs::exists(tiny_ / "one/checkpoints/step-00000012/model.safetensors"));
  EXPECT_EQ(four.tensors().size(), one.tensors().size());
  for (const auto& [name, tensor] : one.tensors()) EXPECT_TRUE(four.contains(name)) << name;
  const Outcome generated =
      natrix_program({"generate", tiny_ / "layout2", "--prompt", "the light", "-n", "5"});
  EXPECT_EQ(generated.status, 0) << generated.err;
}

/// Two and four processes on one device, and what they exchange staged by the host. They round otherwise than
/// the CPU, and after some steps a choice of experts that is near a tie goes the other way.
TEST_F(MpiRun, CudaRanksFollowOneProcess) {
  if (!has_cuda()) GTEST_SKIP() << "no device";
  ASSERT_EQ(alone("one").status, 0);
  const std::vector<std::pair<int, std::vector<std::string>>> layouts = {
      {2, {"parallel.cp=2", "parallel.ep=2", "parallel.cp_link=scan"}},
      {4, {"parallel.cp=2", "parallel.ep=4"}}};
  for (const auto& [ranks, layout] : layouts) {
    const std::string name = std::to_string(ranks) + "_ranks";
    std::vector<std::string> overrides = layout;
    overrides.push_back("device.backend=cuda");
    overrides.push_back("parallel.share_gpus=true");
    const Outcome outcome = train(ranks, name, overrides);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    expect_same_curve(name, "one", 1e-4, 6);
  }
}

// In f64, as above.
TEST_F(MpiRun, GoesOnUnderOtherMeshesAfterKill9) {
  const std::vector<std::string> exact = {"device.backend=reference", "device.dtype=fp64"};
  const auto on = [&](std::vector<std::string> mesh) {
    mesh.insert(mesh.end(), exact.begin(), exact.end());
    return mesh;
  };
  ASSERT_EQ(alone("one", exact).status, 0);
  const auto kill_after_a_checkpoint = [&, done = false]() mutable {
    if (done || last_step_logged(tiny_ / "moved") < 5) return 0;
    for (const pid_t rank : processes_of(tiny_ / "moved", 2)) {
      if (rank > 0) done = kill(rank, SIGKILL) == 0;
    }
    return 0;
  };
  const Outcome killed =
      train(2, "moved", on({"parallel.ep=2", "parallel.zero=1"}), {.signal_when = kill_after_a_checkpoint});
  EXPECT_EQ(killed.status, 128 + SIGKILL) << killed.err;
  const int64_t last = newest_checkpoint(tiny_ / "moved");
  ASSERT_GE(last, 4);
  ASSERT_LT(last, 12) << "it was done before anybody looked";

  const Outcome four = train(4, "moved", on({"parallel.cp=4", "parallel.ep=4", "parallel.zero=1"}));
  ASSERT_EQ(four.status, 0) << four.err;
  EXPECT_NE(four.err.find(fmt::format("going on after step {}/12", last)), std::string::npos) << four.err;
  expect_same_curve("moved", "one", 1e-9);

  // As a run would look that was lost after step 8.
  fs::remove_all(tiny_ / "moved/checkpoints/step-00000012");
  write_file(tiny_ / "moved/checkpoints/latest", "step-00000008\n");
  ASSERT_EQ(alone("moved", exact).status, 0);
  expect_same_curve("moved", "one", 1e-9);
}

// Twenty-four steps against a run made without Natrix (trajectory_test.cpp), weights as files hold them.
TEST_F(MpiRun, LayoutsFollowTheTrajectoryMadeWithoutNatrix) {
  const std::string folder = std::string(NATRIX_TEST_DATA) + "/oracles/trajectory/";
  const auto want = nlohmann::json::parse(std::ifstream(folder + "trajectory.json"));
  const std::vector<std::vector<std::string>> layouts = {
      {"parallel.dp=2", "parallel.cp=2", "parallel.ep=4"},
      {"parallel.cp=4"},
      {"parallel.cp=4", "parallel.ep=2", "parallel.cp_link=scan"},
      {"parallel.dp=2", "parallel.cp=2", "sequence.chunk=7"}};
  for (size_t i = 0; i < layouts.size(); ++i) {
    const std::string run = tiny_ / fmt::format("trajectory{}", i);
    std::vector<std::string> words = mpirun_words(4);
    words.insert(words.end(), {"train", folder + "train.yaml", "run.dir=" + run, "device.threads=1"});
    words.insert(words.end(), layouts[i].begin(), layouts[i].end());
    const Outcome r = any_program(words);
    ASSERT_EQ(r.status, 0) << r.err;
    std::ifstream lines(run + "/metrics.jsonl");
    size_t steps = 0;
    for (std::string line; std::getline(lines, line); ++steps) {
      const auto got = nlohmann::json::parse(line);
      for (const auto& [figure, tolerance] : {std::pair("loss", 1e-4), std::pair("grad_norm", 1e-3),
                                              std::pair("aux_loss", 1e-3), std::pair("z_loss", 1e-3)}) {
        EXPECT_NEAR(got[figure].get<double>(), want[figure][steps].get<double>(), tolerance)
            << "layout " << i << " step " << steps + 1 << " " << figure;
      }
    }
    EXPECT_EQ(steps, want["loss"].size());
    const Safetensors first(folder + "model/model.safetensors"), last(folder + "final.safetensors");
    const StoredTensors ours(run + "/checkpoints/step-00000024", "model");
    double error = 0, way = 0, size = 0;  // as trajectory_test.cpp measures it, and to the same tolerance
    for (const auto& [name, tensor] : last.tensors()) {
      for (int64_t e = 0; e < tensor.count(); ++e) {
        const double to = static_cast<double>(tensor.as<float>()[e]);
        const double missed = static_cast<double>(ours.at(name).view.as<float>()[e]) - to;
        const double went = static_cast<double>(first.at(name).as<float>()[e]) - to;
        error += missed * missed;
        way += went * went;
        size += to * to;
      }
    }
    EXPECT_LT(std::sqrt(error / way), 1e-4) << "layout " << i;
    EXPECT_LT(std::sqrt(error / size), 1e-5) << "layout " << i;
  }
}

TEST_F(MpiRun, SameMeshSameBits) {
  ASSERT_EQ(train(2, "a", {"parallel.ep=2"}).status, 0);
  ASSERT_EQ(train(2, "b", {"parallel.ep=2"}).status, 0);
  EXPECT_EQ(curve(tiny_ / "a"), curve(tiny_ / "b"));
  const auto files_of = [&](const std::string& run) {
    const std::string dir = tiny_ / (run + "/checkpoints/step-00000012");
    std::vector<std::string> lines = snapshot(dir);
    for (std::string& line : lines) line.erase(0, dir.size());
    return lines;
  };
  EXPECT_GT(files_of("a").size(), 6u);
  EXPECT_EQ(files_of("a"), files_of("b"));
}

TEST_F(MpiRun, ASignalToAllOfThemSavesAndStops) {
  ProgramOptions options;
  bool sent = false;
  options.signal_when = [&] {
    if (sent || last_step_logged(tiny_ / "stopped") < 2) return 0;
    sent = true;
    return SIGUSR1;
  };
  const Outcome stopped = train(2, "stopped", {"train.steps=4000", "checkpoint.every=0"}, options);
  EXPECT_EQ(stopped.status, 75) << stopped.err;
  EXPECT_NE(stopped.err.find("all is saved"), std::string::npos) << stopped.err;
  EXPECT_GE(newest_checkpoint(tiny_ / "stopped"), 2);
}

TEST_F(MpiRun, EachRankLogsItsPart) {
  const Outcome r = train(
      4, "logs",
      {"run.rank_logs=true", "parallel.dp=2", "parallel.cp=2", "train.steps=3", "optimizer.warmup_steps=1"});
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.err.find("predictions here"), std::string::npos) << "only rank 0 prints, and nothing of this";
  std::vector<double> sums(3);
  for (int rank = 0; rank < 4; ++rank) {
    std::ifstream file(tiny_ / fmt::format("logs/ranks/rank-{:03}.log", rank));
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line.substr(20));  // behind the time
    ASSERT_EQ(lines.size(), 5u) << rank;
    EXPECT_EQ(lines[0].find(fmt::format("rank {} of 4: dp_rank {}, cp_rank {},", rank, rank / 2, rank % 2)),
              0u)
        << lines[0];
    for (size_t n = 0; n < 3; ++n) {
      double loss = 0;
      int step = 0, predictions = 0;
      ASSERT_EQ(std::sscanf(lines[n + 1].c_str(), "step %d: loss %lf of %d predictions here", &step, &loss,
                            &predictions),
                3)
          << lines[n + 1];
      EXPECT_EQ(step, static_cast<int>(n) + 1);
      EXPECT_EQ(predictions, 32);  // 2 rows of 16 tokens
      sums[n] += loss / 4;
    }
    EXPECT_EQ(lines[4], "ended with status 0");
  }
  const auto logged = curve(tiny_ / "logs");
  for (size_t n = 0; n < 3; ++n) {
    EXPECT_NEAR(sums[n], nlohmann::json::parse(logged[n])["loss"].get<double>(), 1e-5);  // of six decimals
  }
}

TEST_F(MpiRun, AWrongNumberOfRanksIsSaidOnce) {
  const Outcome r = train(3, "three", {"parallel.cp=2"});
  EXPECT_EQ(r.status, 2) << r.err;
  EXPECT_NE(r.err.find("natrix: parallel.cp: 2 does not divide the 3 ranks"), std::string::npos) << r.err;
  EXPECT_EQ(r.err.find("natrix: rank"), std::string::npos) << "only rank 0 speaks: " << r.err;
  EXPECT_FALSE(fs::exists(tiny_ / "three"));
}

TEST_F(MpiRun, ACheckpointThatRankZeroCannotWriteEndsAll) {
  bool blocked = false;
  ProgramOptions options;
  options.signal_when = [&] {  // between the checkpoints of steps 0 and 1000
    if (blocked || last_step_logged(tiny_ / "blocked") < 2) return 0;
    fs::rename(tiny_ / "blocked/checkpoints", tiny_ / "blocked/moved");
    write_file(tiny_ / "blocked/checkpoints", "a file where a directory should be");
    blocked = true;
    return 0;
  };
  const Outcome r = train(2, "blocked", {"train.steps=100000", "checkpoint.every=1000"}, options);
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_NE(r.err.find("natrix: rank 0 could not"), std::string::npos) << r.err;
  EXPECT_NE(r.err.find("blocked/checkpoints"), std::string::npos) << r.err;
  EXPECT_EQ(r.err.find("natrix: rank 1"), std::string::npos) << r.err;
}

TEST_F(MpiRun, ARunThatCannotBeWrittenIsRefusedBeforeItBegins) {
  write_file(tiny_ / "blocked/checkpoints", "a file where a directory should be");
  const Outcome r = train(2, "blocked");
  EXPECT_EQ(r.status, 2) << r.err;
  EXPECT_NE(r.err.find("blocked/checkpoints is not a directory"), std::string::npos) << r.err;
  EXPECT_EQ(r.err.find("natrix: rank 1"), std::string::npos) << r.err;
  EXPECT_FALSE(fs::exists(tiny_ / "blocked/natrix.log"));
}

/// From now on this process can write nothing longer, as if its disk were full.
void fill_disk_of(pid_t rank, rlim_t most) {
  const rlimit limit{.rlim_cur = most, .rlim_max = most};
  ASSERT_EQ(prlimit(rank, RLIMIT_FSIZE, &limit, nullptr), 0);
}

TEST_F(MpiRun, ACheckpointThatAnyRankCannotWriteIsGivenUpAndTheOneBeforeStays) {
  bool full = false;
  ProgramOptions options;
  options.signal_when = [&] {
    if (full || last_step_logged(tiny_ / "full") < 2) return 0;
    if (const pid_t last = processes_of(tiny_ / "full", 3)[2]; last > 0) {
      fill_disk_of(last, 100);
      full = true;
    }
    return 0;
  };
  const Outcome r =
      train(3, "full", {"train.batch_size=3", "train.steps=100000", "checkpoint.every=100"}, options);
  ASSERT_TRUE(full) << r.err;
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_NE(r.err.find("natrix: rank 2 could not write its part of the checkpoint of step"),
            std::string::npos)
      << r.err;
  EXPECT_NE(r.err.find("File too large"), std::string::npos) << r.err;
  const std::vector<std::string> left = checkpoints(tiny_ / "full");
  ASSERT_GE(left.size(), 2u);
  for (const std::string& name : left) EXPECT_TRUE(name == "latest" || name.starts_with("step-")) << name;
  const int64_t before = newest_checkpoint(tiny_ / "full");
  const Outcome on = train(3, "full", {"train.batch_size=3", fmt::format("train.steps={}", before + 10)});
  EXPECT_EQ(on.status, 0) << on.err;
  EXPECT_EQ(newest_checkpoint(tiny_ / "full"), before + 10);
}

}  // namespace
}  // namespace natrix::test
