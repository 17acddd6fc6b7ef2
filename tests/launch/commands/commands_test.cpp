// natrix inspect, verify, score, gradients, data and plot as a user or a script runs them.
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files/safetensors.h"
#include "tests/launch/spoil.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

json inspect(const std::string& what) {
  return natrix_json({"inspect", what});
}

int64_t count_elements(const std::string& safetensors) {
  int64_t n = 0;
  const Safetensors file(safetensors);
  for (const auto& [name, view] : file.tensors()) n += view.count();
  return n;
}

TEST(Inspect, CountsWhatIsStored) {
  const json model = inspect(good_files() + "/model");
  EXPECT_EQ(model["class"], "JambaForCausalLM");
  EXPECT_EQ(model["stack"], "ME");
  EXPECT_EQ(model["parameters"], count_elements(good_files() + "/model/model.safetensors"));
  EXPECT_EQ(model["active_parameters"],
            model["parameters"].get<int64_t>() - 2 * 3 * 16 * 16);  // two of four experts rest
  EXPECT_EQ(model["vocab_size"], 257);
}

TEST(Inspect, KnowsConfigurationsRunsAndStates) {
  const json model = inspect(good_files() + "/model"), config = inspect(good_files() + "/train.yaml"),
             run = inspect(trained_run()), state = inspect(good_files() + "/prefix.state");
  EXPECT_EQ(config["parameters"], model["parameters"]);
  // Memory is that of the run, where every tensor begins a cache line.
  const int64_t bytes = 4 * model["parameters"].get<int64_t>(),
                weights = config["training_memory"]["weights"];
  EXPECT_GE(weights, bytes);
  EXPECT_LT(weights, bytes + 64 * 40);
  EXPECT_EQ(run["directory"], trained_run() + "/checkpoints/step-00000150");
  EXPECT_EQ(state["tokens"], 6);
  EXPECT_EQ(state["about"], "ME d_model 16");
}

TEST(Inspect, PrintsForPeople) {
  const Outcome r = natrix_program({"inspect", good_files() + "/train.yaml", "--tensors"});
  EXPECT_EQ(r.status, 0);
  EXPECT_THAT(r.out, HasSubstr("model.layers.0.mamba.A_log"));
  EXPECT_THAT(r.out, HasSubstr("resolved configuration:"));
  EXPECT_THAT(r.out, ContainsRegex("vocab_size: 257 +# the tokenizer"));
  EXPECT_THAT(r.out, ContainsRegex("d_model: 16 +# .*train.yaml:3"));
}

TEST(Verify, PrintsATableAndEndsWell) {
  const TinyRun tiny;
  const Outcome r = natrix_program({"verify", tiny.config(), "--chunks", "whole,8,5,1"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_THAT(r.out, HasSubstr("32 tokens a row, 2 rows"));
  for (const char* chunk : {"whole", "8", "5", "1"})
    EXPECT_THAT(r.out, ContainsRegex("\n +" + std::string(chunk) + "  "));
  EXPECT_THAT(r.out, HasSubstr("equal: within 1e-05"));
  EXPECT_FALSE(fs::exists(tiny / "runs")) << "verify trains nothing";
}

TEST(Verify, SaysWhatDiffers) {
  const TinyRun tiny;
  const Outcome r =
      natrix_program({"verify", tiny.config(), "--chunks", "whole,8", "--tolerance", "0", "--json"});
  const json report = json::parse(r.out);
  ASSERT_EQ(report["rows"].size(), 2u);
  EXPECT_EQ(report["rows"][0]["gradient_difference"], 0);
  EXPECT_LE(report["rows"][1]["gradient_difference"].get<double>(), 1e-5);
  const bool equal =
      report["rows"][1]["gradient_difference"] == 0 && report["rows"][1]["loss_difference"] == 0;
  EXPECT_EQ(report["equal"], equal);
  EXPECT_EQ(r.status, equal ? 0 : 1);
}

TEST(ScoreAndGradients, PrintOneObjectAndAgree) {
  const ScratchDir scratch;
  const std::string tokens = good_files() + "/tokens.safetensors", model = good_files() + "/model";
  const json score =
      natrix_json({"score", model, "--tokens", tokens, "--out", scratch / "s", "--chunk", "4"});
  const json gradients =
      natrix_json({"gradients", model, "--tokens", tokens, "--out", scratch / "g", "--chunk", "4"});
  EXPECT_EQ(score["predictions"], 8);
  EXPECT_NEAR(score["loss"].get<double>(), gradients["loss"].get<double>(), 1e-6);
  EXPECT_EQ(score["out"], scratch / "s");
  const Safetensors scores(scratch / "s"), weights(model + "/model.safetensors"), slopes(scratch / "g");
  EXPECT_EQ(scores.at("logits").shape, (Shape{1, 9, 257}));
  EXPECT_EQ(scores.at("loss").as<float>()[0], score["loss"].get<float>());
  EXPECT_EQ(slopes.tensors().size(), weights.tensors().size());
  for (const auto& [name, view] : weights.tensors()) EXPECT_EQ(slopes.at(name).shape, view.shape) << name;
}

// Twice the same is the same, bit for bit.
TEST(ScoreAndGradients, RepeatBitForBit) {
  const ScratchDir scratch;
  for (const char* command : {"score", "gradients"}) {
    for (const char* out : {"a", "b"}) {
      natrix_json(
          {command, trained_run(), "--tokens", good_files() + "/tokens.safetensors", "--out", scratch / out});
    }
    EXPECT_EQ(read_file(scratch / "a"), read_file(scratch / "b")) << command;
  }
}

TEST(Data, ShardsTrainLikeTheTextTheyWereMadeOf) {
  const TinyRun tiny;
  natrix_json({"data", tiny / "text.txt", "--out", tiny / "shards", "--shard-tokens", "1000"});
  for (const std::string order : {"shuffled", "sequential"}) {
    ASSERT_EQ(tiny.train("text-" + order, {"data.order=" + order}).status, 0);
    ASSERT_EQ(
        tiny.train("shards-" + order, {"data.order=" + order, "data.train=[" + tiny / "shards" + "]"}).status,
        0);
    EXPECT_EQ(curve(tiny / "text-" + order), curve(tiny / "shards-" + order));
  }
  EXPECT_NE(curve(tiny / "text-shuffled"), curve(tiny / "text-sequential"));
}

TEST(Train, LeavesOneRunDirectoryThatEveryCommandReads) {
  const TinyRun tiny;
  const Outcome r = tiny.train("run", {"data.eval=[" + tiny / "text.txt" + "]"});
  ASSERT_EQ(r.status, 0);
  EXPECT_EQ(r.out, "");
  EXPECT_THAT(r.err, ContainsRegex("step 40/40 \\| loss [0-9.]+ .*norm .*lr .*tok/s.*experts"));
  for (const char* file :
       {"config.yaml", "metrics.jsonl", "natrix.log", "report.html", "checkpoints/latest"}) {
    EXPECT_TRUE(fs::is_regular_file(tiny / "run/" + file)) << file;
  }
  EXPECT_EQ(natrix_json({"plot", tiny / "run", "--out", tiny / "page.html"})["report"], tiny / "page.html");
  EXPECT_THAT(read_file(tiny / "page.html"), HasSubstr("<html"));
}

TEST(Train, PrintsWhereTheRunStands) {
  const TinyRun tiny;
  const json r = natrix_json({"train", tiny.config(), "run.dir=" + tiny / "run"});
  EXPECT_EQ(r["run"], tiny / "run");
  EXPECT_EQ(r["done"], true);
  EXPECT_EQ(r["step"], 40);
  EXPECT_EQ(r["tokens"], 40 * 2 * 32);
}

TEST(Train, PrintsTheConfigurationOrTheSizesAndTouchesNothing) {
  const TinyRun tiny;
  const Outcome config = tiny.train("run", {"--print-config"}), sizes = tiny.train("run", {"--dry-run"});
  EXPECT_THAT(config.out, ContainsRegex("d_model: 16 +# .*train.yaml:3"));
  EXPECT_THAT(sizes.err, ContainsRegex("memory: .* weights, .* gradients, .* optimizer"));
  EXPECT_EQ(config.status + sizes.status, 0);
  EXPECT_FALSE(fs::exists(tiny / "run"));
}

TEST(Help, EveryCommandShowsAnExample) {
  for (const char* command :
       {"train", "eval", "generate", "score", "gradients", "inspect", "verify", "data", "plan", "plot"}) {
    const Outcome r = natrix_program({command, "--help"});
    EXPECT_EQ(r.status, 0);
    EXPECT_EQ(r.err, "");
    EXPECT_THAT(r.out, ContainsRegex("Examples?:\\s+natrix " + std::string(command))) << command;
  }
}

}  // namespace
}  // namespace natrix::test
