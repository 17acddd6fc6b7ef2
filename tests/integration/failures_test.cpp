// Failures in a run of four ranks, as in the table of docs/ranks.md: every rank ends soon and none with
// status 0. The message names the place and the rank.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/files/safetensors.h"
#include "distributed/mpi_communicator.h"
#include "kernels/base/buffer.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kRanks = 4, kSick = 2;  // the rank that fails
constexpr float kOverflows = 1e30f;   // as a weight

class Failure : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
    for (int r = 0; r < kRanks; ++r) {
      // As hosts would have it: one path, and another file behind it on each.
      fs::create_directory(folder(r));
      write_file(folder(r) + "/text", some_text(4000));
      ranks_.push_back({});
    }
    fs::create_directory(tiny_ / "statuses");
  }

  struct Rank {
    std::string program = NATRIX_PROGRAM;
    std::vector<std::string> overrides = {};
  };
  std::string run_dir() const { return tiny_ / "run"; }
  std::string folder(int rank) const { return tiny_ / fmt::format("host{}", rank); }

  /// Runs four ranks; `strike` once, when the second step is logged.
  void train(const std::vector<std::string>& overrides, const std::function<void()>& strike = {}) {
    std::string script = "case $OMPI_COMM_WORLD_RANK in\n";
    for (int r = 0; r < kRanks; ++r) {
      const Rank& rank = ranks_[static_cast<size_t>(r)];
      std::vector<std::string> words = {NATRIX_RECORD_STATUS, tiny_ / "statuses", rank.program, "train"};
      words.insert(words.end(), {tiny_.config(), "run.dir=" + run_dir(), "data.train=[/proc/self/cwd/text]",
                                 "device.threads=1", "train.batch_size=4", "train.steps=100000",
                                 "checkpoint.every=0", "parallel.timeout=2s"});
      words.insert(words.end(), overrides.begin(), overrides.end());
      words.insert(words.end(), rank.overrides.begin(), rank.overrides.end());
      script += fmt::format("{}) cd '{}' && exec '{}' ;;\n", r, folder(r), fmt::join(words, "' '"));
    }
    write_file(tiny_ / "start.sh", script + "esac\n");
    // mpirun starts one command on all ranks: that of Open MPI 5 in Debian 13 crashes if each rank has a
    // command of its own (github.com/open-mpi/ompi/issues/13303).
    std::vector<std::string> words = mpirun_words();
    words.insert(words.end(), {"-n", std::to_string(kRanks), "sh", tiny_ / "start.sh"});
    ProgramOptions options;
    struck_ = std::chrono::steady_clock::now();
    if (strike) {
      options.signal_when = [&, done = false]() mutable {
        if (!done && last_step_logged(run_dir()) >= 2) {
          strike();
          struck_ = std::chrono::steady_clock::now();
          done = true;
        }
        return 0;
      };
    }
    job_ = any_program(words, options);
    seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - struck_).count();
  }

  /// To the sick rank.
  void send(int signal) {
    const pid_t process = processes_of(run_dir(), kRanks)[kSick];
    ASSERT_GT(process, 0);
    kill(process, signal);
  }

  /// Every rank has ended, none with status 0, and so has the job; within the timeout, and what mpirun and a
  /// busy machine take on top of it.
  void expect_all_ended() {
    EXPECT_THAT(job_.status, Gt(0)) << job_.err;
    EXPECT_LT(seconds_, 30) << job_.err;
    for (int r = 0; r < kRanks; ++r) {
      const std::string file = tiny_ / fmt::format("statuses/{}", r);
      for (int wait = 0; wait < 500 && !fs::exists(file); ++wait)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      ASSERT_TRUE(fs::exists(file)) << "rank " << r << " outlived its job";
      EXPECT_THAT(std::atoi(read_file(file).c_str()), Gt(0)) << "rank " << r << "\n" << job_.err;
    }
    const std::vector<pid_t> left = processes_of(run_dir(), kRanks);
    EXPECT_EQ(std::count(left.begin(), left.end(), -1), kRanks);
    RecordProperty("seconds", fmt::format("{:.1f}", seconds_));
  }

  TinyRun tiny_;
  std::vector<Rank> ranks_;
  Outcome job_;
  std::chrono::steady_clock::time_point struck_;
  double seconds_ = 0;  // from the failure to the end of the job
};

TEST_F(Failure, ARankThatThrowsEndsAll) {
  train({"parallel.timeout=300s"}, [&] { fs::resize_file(folder(kSick) + "/text", 0); });
  EXPECT_EQ(job_.status, 1);
  EXPECT_THAT(job_.err, HasSubstr("natrix: rank 2: /proc/self/cwd/text ends at byte"));
  EXPECT_THAT(job_.err, Not(HasSubstr("parallel.timeout"))) << "the others need not wait that long";
  expect_all_ended();
}

TEST_F(Failure, ARankThatThrowsBeforeTheFirstStepEndsAll) {
  fs::remove(folder(kSick) + "/text");
  train({});
  EXPECT_EQ(job_.status, 2);
  EXPECT_THAT(job_.err, HasSubstr("natrix: rank 2: data.train: /proc/self/cwd/text does not exist"));
  expect_all_ended();
}

TEST_F(Failure, AKilledRankEndsAll) {
  train({}, [&] { send(SIGKILL); });
  EXPECT_EQ(job_.status, 128 + SIGKILL);
  expect_all_ended();
}

// The others wait for it in one operation.
TEST_F(Failure, AStoppedRankEndsAllByTheWatchdog) {
  train({}, [&] { send(SIGSTOP); });
  EXPECT_EQ(job_.status, 1);
  EXPECT_THAT(job_.err, HasSubstr("natrix: rank 0, step "));
  EXPECT_THAT(job_.err, HasSubstr("heard nothing from rank 2 for 2 s (parallel.timeout)"));
  expect_all_ended();
}

// The others wait for each other, and one of them for the stopped rank: that is in what they say together.
TEST_F(Failure, AStoppedRankOfARelayIsTheOneThatIsNamedAndSilent) {
  train({"parallel.cp=4"}, [&] { send(SIGSTOP); });
  EXPECT_EQ(job_.status, 1);
  EXPECT_THAT(job_.err, HasSubstr("from rank 2 for 2 s (parallel.timeout)"));
  EXPECT_THAT(job_.err, Not(HasSubstr("natrix: rank 2")));
  expect_all_ended();
}

TEST_F(Failure, AnotherConfigurationIsRefused) {
  ranks_[kSick].overrides = {"optimizer.lr=0.02"};
  train({});
  EXPECT_EQ(job_.status, 2);
  EXPECT_THAT(job_.err, HasSubstr("natrix: rank 2: the configuration of this rank is another than rank 0's"));
  EXPECT_FALSE(fs::exists(run_dir()));
  expect_all_ended();
}

// A configuration of another mesh, with which the ranks do not even agree on whom to speak to.
TEST_F(Failure, AnotherMeshIsRefused) {
  ranks_[kSick].overrides = {"parallel.cp=2", "parallel.ep=2"};
  train({});
  EXPECT_EQ(job_.status, 2);
  EXPECT_THAT(job_.err, HasSubstr("natrix: rank 2: the configuration of this rank is another than rank 0's"));
  EXPECT_FALSE(fs::exists(run_dir()));
  expect_all_ended();
}

TEST_F(Failure, AnotherProgramIsRefused) {
  ranks_[kSick].program = tiny_ / "natrix";
  fs::copy_file(NATRIX_PROGRAM, ranks_[kSick].program);
  std::ofstream(ranks_[kSick].program, std::ios::app) << "\n";
  train({});
  EXPECT_EQ(job_.status, 2);
  EXPECT_THAT(job_.err, HasSubstr("natrix: rank 2: the program of this rank is another than rank 0's"));
  EXPECT_FALSE(fs::exists(run_dir()));
  expect_all_ended();
}

TEST_F(Failure, OtherDataAreRefused) {
  write_file(folder(kSick) + "/text", some_text(4000, 2));
  train({});
  EXPECT_EQ(job_.status, 2);
  EXPECT_THAT(
      job_.err,
      HasSubstr("natrix: rank 2: what data.train names on the host of this rank is another than rank 0's"));
  EXPECT_FALSE(fs::exists(run_dir()));
  expect_all_ended();
}

/// A checkpoint in which one expert of four, with ep = 4 that of the sick rank, has this weight.
std::string spoiled_expert(const TinyRun& tiny, float weight) {
  EXPECT_EQ(tiny.train("spoiled", {"train.steps=1", "optimizer.warmup_steps=0"}).status, 0);
  std::string checkpoint = tiny / "spoiled/checkpoints/step-00000001";
  const std::string weights = checkpoint + "/model.safetensors";
  std::vector<NamedTensor> tensors;
  std::vector<Buffer> copies;
  {
    const Safetensors file(weights);
    for (const auto& [name, view] : file.tensors()) {
      Buffer& b = copies.emplace_back(view.dtype, view.shape);
      copy(view, b.view());
      if (name.find("experts.2.") != std::string::npos)
        std::fill_n(b.view().as<float>(), b.view().count(), weight);
      tensors.push_back({name, b.view()});
    }
    write_safetensors(weights, tensors, file.metadata());
  }
  return checkpoint;
}

TEST_F(Failure, ANaNOnOneRankStopsAllInTheSameStep) {
  train({"model.init_from=" + spoiled_expert(tiny_, kOverflows), "parallel.ep=4", "run.rank_logs=true"});
  EXPECT_EQ(job_.status, 1);
  const std::string what = "step 1: loss nan, gradient norm nan: rank ";
  EXPECT_THAT(job_.err, HasSubstr("natrix: " + what));
  for (int r = 0; r < kRanks; ++r) {
    EXPECT_THAT(read_file(fmt::format("{}/ranks/rank-{:03}.log", run_dir(), r)),
                HasSubstr("warning: " + what));
  }
  EXPECT_THAT(job_.err, ContainsRegex("first seen in the output of sublayer 1 .E., row [0-3], position "));
  EXPECT_EQ(last_step_logged(run_dir()), 0) << "nobody went on";
  expect_all_ended();
}

TEST_F(Failure, ANaNThatIsSkippedIsSkippedByAll) {
  train({"model.init_from=" + spoiled_expert(tiny_, kOverflows), "parallel.ep=4", "train.on_nan=skip",
         "train.steps=3", "optimizer.warmup_steps=1"});
  EXPECT_EQ(job_.status, 0) << job_.err;
  EXPECT_THAT(job_.err, HasSubstr("step 3: loss nan, gradient norm nan: rank "));
}

TEST_F(Failure, AWeightOfOneRankThatIsNotFiniteIsSavedByNone) {
  train(
      {"model.init_from=" + spoiled_expert(tiny_, std::numeric_limits<float>::quiet_NaN()), "parallel.ep=4"});
  EXPECT_EQ(job_.status, 1);
  EXPECT_THAT(job_.err,
              ContainsRegex("natrix: before the first step, the weight .*experts\\.2\\..* is not finite"));
  EXPECT_FALSE(fs::exists(run_dir() + "/checkpoints"));
  expect_all_ended();
}

/// launch/mpirun.sh, which knows of stopping what mpirun does not.
class MpirunScript : public Failure {
 protected:
  Outcome run(const std::string& name, const std::function<int()>& signal_when) {
    ProgramOptions options;
    options.signal_when = signal_when;
    std::vector<std::string> words = environment_of_ranks();
    words.insert(words.end(), {"NATRIX=" NATRIX_PROGRAM, NATRIX_SOURCE_DIR "/launch/mpirun.sh", "-n", "2",
                               "--threads", "1", "train", tiny_.config(), "run.dir=" + (tiny_ / name),
                               "train.steps=100000", "checkpoint.every=0"});
    return any_program(words, options);
  }
};

TEST_F(MpirunScript, SavesAndStopsAtAnySignalThatEndsPrograms) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    const std::string name = fmt::format("signal{}", signal);
    const Outcome r = run(name, [&, sent = false]() mutable {
      if (sent || last_step_logged(tiny_ / name) < 2) return 0;
      sent = true;
      return signal;
    });
    EXPECT_EQ(r.status, 75) << strsignal(signal) << r.err;
    EXPECT_GE(newest_checkpoint(tiny_ / name), 2);
  }
}

TEST_F(MpirunScript, DoesNotWaitForRanksOfALostOne) {
  const Outcome r = run("run", [&, sent = false]() mutable {
    if (sent || last_step_logged(run_dir()) < 2) return 0;
    sent = true;
    struck_ = std::chrono::steady_clock::now();
    kill(processes_of(run_dir(), kRanks)[1], SIGKILL);
    return 0;
  });
  EXPECT_EQ(r.status, 128 + SIGKILL) << r.err;
  EXPECT_LT(std::chrono::steady_clock::now() - struck_, std::chrono::seconds(30));
}

}  // namespace
}  // namespace natrix::test
