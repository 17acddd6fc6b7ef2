// The whole program with a layer kind that exists only in tests (tests/toy_layer). Every command takes its
// layers from the table that main() passes to run_program().
#include <csignal>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files/safetensors.h"
#include "distributed/mpi_communicator.h"
#include "kernels/base/buffer.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

using Words = std::vector<std::string>;

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class ToyProgram : public ::testing::Test {
 protected:
  // Both letters, so that one layer reads positions; M has a state of another kind between them.
  const Words model_ = {"model.pattern=TMP-", "model.mlp.d_ff=24"};
  const Words exact_ = {"device.backend=reference", "device.dtype=fp64"};

  Words train_words(const std::string& name, const Words& overrides) const {
    return Words{NATRIX_TOY_PROGRAM, "train", tiny_.config(), "run.dir=" + (tiny_ / name)} + model_ +
           overrides;
  }
  Outcome train(const std::string& name, const Words& overrides = {}, const ProgramOptions& o = {}) const {
    return any_program(train_words(name, overrides), o);
  }
  json toy_json(const Words& words) const {
    const Outcome r = any_program(Words{NATRIX_TOY_PROGRAM} + words + Words{"--json", "-q"});
    EXPECT_EQ(r.status, 0) << r.err;
    return json::parse(r.out, nullptr, false);
  }
  std::vector<double> losses(const std::string& name) const {
    std::vector<double> all;
    for (const std::string& line : curve(tiny_ / name)) all.push_back(json::parse(line)["loss"]);
    return all;
  }

  TinyRun tiny_;
};

TEST_F(ToyProgram, StepInChunksAndOverRanksIsTheStepInOnePiece) {
  const json report =
      toy_json(Words{"verify", tiny_.config(), "--chunks", "whole,8,5,1", "--layouts",
                     "cp2,cp4,cp2scan,cp4scan,dp2cp2", "--tolerance", "1e-10", "sequence.length=48"} +
               model_ + exact_);
  EXPECT_TRUE(report["equal"]);
  EXPECT_EQ(report["rows"].size(), 4u);
  EXPECT_EQ(report["layouts"].size(), 5u);
}

TEST_F(ToyProgram, RunInChunksFollowsTheRunInOnePiece) {
  ASSERT_EQ(train("whole", exact_ + Words{"sequence.chunk=32"}).status, 0);
  ASSERT_EQ(train("chunks", exact_ + Words{"sequence.chunk=5"}).status, 0);
  const std::vector<double> whole = losses("whole"), chunks = losses("chunks");
  ASSERT_EQ(whole.size(), 40u);
  ASSERT_EQ(chunks.size(), 40u);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(chunks[i], whole[i], 1e-9) << "step " << i + 1;
  EXPECT_LT(whole.back(), whole.front() - 0.5) << "it learns";
}

TEST_F(ToyProgram, ResumesBitIdenticallyAfterKill9) {
  // The states that a batch leaves enter the next one, so that a checkpoint holds the toy layer's state, too.
  const Words overrides = {"sequence.carry_state=true", "data.order=sequential", "train.micro_batch_size=1"};
  ASSERT_EQ(train("whole", overrides).status, 0);
  int kills = 0;
  for (const int64_t lines : {6, 17, 31}) {
    const Outcome killed =
        train("parts", overrides,
              {.signal_when = [&] { return lines_logged(tiny_ / "parts") < lines ? 0 : SIGKILL; }});
    if (killed.status == 128 + SIGKILL) ++kills;
  }
  EXPECT_GE(kills, 1);
  const Outcome last = train("parts", overrides);
  ASSERT_EQ(last.status, 0) << last.err;
  EXPECT_EQ(curve(tiny_ / "whole"), curve(tiny_ / "parts"));
  EXPECT_EQ(weights(tiny_ / "whole", 40), weights(tiny_ / "parts", 40));
}

TEST_F(ToyProgram, GoesOnFromAStateFile) {
  ASSERT_EQ(train("run").status, 0);
  const std::string run = tiny_ / "run", state = tiny_ / "state";
  const auto generate = [&](const Words& words) {
    return toy_json(Words{"generate", run, "--temp", "0", "--ignore-eos"} + words)["text"].get<std::string>();
  };
  const std::string whole = generate({"-p", "the light was", "-n", "24"});
  const std::string begun = generate({"-p", "the light was", "-n", "9", "--state-out", state});
  EXPECT_EQ(begun + generate({"--state-in", state, "-n", "15"}), whole);
  EXPECT_NE(generate({"-p", "x", "-n", "15"}), whole.substr(begun.size())) << "the state matters";

  const json info = toy_json({"inspect", state});
  EXPECT_GT(info["tokens"], 0);

  // The program without this kind refuses the checkpoint and names the letter.
  const Outcome refused = natrix_program({"generate", run, "-p", "the"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("'T' is not a layer"));
}

TEST_F(ToyProgram, EveryCommandThatReadsACheckpointTakesIt) {
  ASSERT_EQ(train("run").status, 0);
  write_file(tiny_ / "held-out", some_text(700, 9));
  const Words eval = {"eval", tiny_ / "run", "--data", tiny_ / "held-out"};
  const double loss = toy_json(eval)["loss"];
  if (built_with_mpi()) {
    const Outcome ranks =
        any_program(mpirun_words() + Words{"-n", "2", NATRIX_TOY_PROGRAM} + eval + Words{"--json", "-q"});
    ASSERT_EQ(ranks.status, 0) << ranks.err;
    EXPECT_NEAR(json::parse(ranks.out)["loss"].get<double>(), loss, 1e-5);
  }

  const std::string tokens = tiny_ / "tokens";
  const std::string model = tiny_ / "run/checkpoints/step-00000040";
  const Buffer ids(Dtype::kI64, {1, 6});
  for (int64_t t = 0; t < 6; ++t) ids.view().as<int64_t>()[t] = 5 + 7 * t;
  write_safetensors(tokens, {{"tokens", ids.view()}});
  const json scored = toy_json({"score", model, "--tokens", tokens, "--out", tiny_ / "scores"});
  const json graded =
      toy_json({"gradients", model, "--tokens", tokens, "--out", tiny_ / "g", "--chunk", "2"});
  EXPECT_NEAR(graded["loss"].get<double>(), scored["loss"].get<double>(), 1e-5);
}

TEST_F(ToyProgram, RanksFollowOneProcess) {
  if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  const Words short_run = exact_ + Words{"train.steps=12"};
  ASSERT_EQ(train("one", short_run).status, 0);
  const std::vector<double> one = losses("one");
  const std::vector<std::pair<int, Words>> layouts = {{2, {"parallel.cp=2"}},
                                                      {4, {"parallel.cp=4", "parallel.cp_link=scan"}},
                                                      {4, {"parallel.dp=2", "parallel.cp=2"}}};
  for (const auto& [ranks, layout] : layouts) {
    const std::string name = fmt::format("{}-{}", ranks, layout.back());
    const Outcome r = any_program(mpirun_words() + Words{"-n", std::to_string(ranks)} +
                                  train_words(name, short_run + layout + Words{"device.threads=1"}));
    ASSERT_EQ(r.status, 0) << r.err;
    const std::vector<double> all = losses(name);
    ASSERT_EQ(all.size(), one.size());
    for (size_t i = 0; i < all.size(); ++i) EXPECT_NEAR(all[i], one[i], 1e-9) << name << " step " << i + 1;
  }
}

// `natrix verify` measures the arena of a real step: on the reference backend, whose kernels take no scratch of
// their own.
TEST_F(ToyProgram, IsPlannedAndInspectedAsMeasured) {
  const Words size = {"sequence.length=96", "sequence.chunk=24", "train.micro_batch_size=2",
                      "device.backend=reference"};
  const json measured =
      toy_json(Words{"verify", tiny_.config()} + model_ + size + Words{"--chunks", "24"})["rows"][0];
  const double arena = measured["activation_bytes"];
  const json planned = toy_json(Words{"plan", tiny_.config(), "--layout", "dp1", "--device", "cpu2"} +
                                model_ + size)["plans"][0]["memory"];
  EXPECT_EQ(planned["boundary_states"], measured["boundary_bytes"]);
  const json searched = toy_json(Words{"plan", tiny_.config(), "--ranks", "2", "--device", "cpu2"} + model_);
  EXPECT_FALSE(searched["plans"].empty());

  const json facts = toy_json(Words{"inspect", tiny_.config(), "--tensors"} + model_ + size);
  EXPECT_NEAR(facts["training_memory"]["activations"].get<double>(), arena, 0.01 * arena);
  // A plan is of the cpu backend, which keeps a little more; its count is the one that `inspect` prints for it.
  const json on_cpu =
      toy_json(Words{"inspect", tiny_.config()} + model_ + size + Words{"device.backend=cpu"});
  EXPECT_EQ(planned["activations"], on_cpu["training_memory"]["activations"]);
  EXPECT_EQ(facts["stack"], "TMP-");
  int decays = 0;
  for (const json& tensor : facts["tensors"]) {
    if (!tensor["name"].get<std::string>().ends_with("decay")) continue;
    EXPECT_EQ(tensor["shape"], json({16}));
    ++decays;
  }
  EXPECT_EQ(decays, 2);
  // The toy layers have a state of d_model floats each; M has what it has in a model of its own.
  const auto figure = [&](const std::string& pattern, const std::string& key) {
    return toy_json(Words{"inspect", tiny_.config()} + model_ + Words{"model.pattern=" + pattern})[key]
        .get<int64_t>();
  };
  const std::string states = "state_bytes_per_sequence", parameters = "parameters";
  EXPECT_EQ(figure("TTM-", states) - figure("M-", states), 2 * 16 * 4);
  EXPECT_EQ(figure("TMP-", parameters) - figure("M-", parameters), 2 * (16 + 16))
      << "a norm and the decays of each";
}

}  // namespace
}  // namespace natrix::test
