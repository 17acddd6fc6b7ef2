// How the program reads and prints paths: ~, empty paths, and paths relative to a configuration.
#include <filesystem>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/spoil.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// natrix with a HOME of its own, started in a directory.
Outcome natrix_at_home(const std::string& home, std::vector<std::string> args,
                       const std::string& directory = "/") {
  std::vector<std::string> words = {"env", "-C", directory, "HOME=" + home, NATRIX_PROGRAM};
  words.insert(words.end(), args.begin(), args.end());
  return any_program(words);
}

TEST(Home, IsWhereARunGoes) {
  const TinyRun tiny;
  fs::create_directories(tiny / "cwd");
  const std::string home = tiny / "";
  const Outcome override = natrix_at_home(
      home, {"train", "~/train.yaml", "run.dir=~/run", "data.train=[~/text.txt]", "train.steps=5", "-q"},
      tiny / "cwd");
  EXPECT_EQ(override.status, 0) << override.err;
  EXPECT_TRUE(fs::exists(tiny / "run/checkpoints/latest"));
  EXPECT_TRUE(fs::is_empty(tiny / "cwd")) << "a directory named ~";
  const std::string config = read_file(tiny / "run/config.yaml");
  EXPECT_THAT(config, HasSubstr("dir: " + (tiny / "run") + "\n"));
  EXPECT_THAT(config, Not(HasSubstr("~")));
  write_file(tiny / "sub/b.yaml", "extends: ~/train.yaml\nrun: {dir: ~/run2}\ntrain: {steps: 5}\n");
  const Outcome file = natrix_at_home(home, {"train", tiny / "sub/b.yaml", "-q"}, tiny / "cwd");
  EXPECT_EQ(file.status, 0) << file.err;
  EXPECT_TRUE(fs::exists(tiny / "run2/checkpoints/latest"));
  EXPECT_FALSE(fs::exists(tiny / "sub/~"));
}

TEST(Home, IsKnownToEveryFlagThatNamesAPath) {
  const ScratchDir scratch;
  fs::copy(good_files(), scratch.path(), fs::copy_options::recursive);
  const std::vector<std::string> commands[] = {
      {"eval", "~/model", "--data=~/text.txt"},
      {"score", "~/model", "--tokens=~/tokens.safetensors", "--out=~/scores"},
      {"gradients", "~/model", "--tokens=~/tokens.safetensors", "-o~/gradients"},
      {"generate", "~/model", "--prompt-file=~/text.txt", "-n0", "--state-out=~/new.state"},
      {"generate", "~/model", "-n1", "--state-in=~/new.state", "--tokenizer=bytes"},
      {"generate", "~/model", "-n1", "--tokens=~/tokens.safetensors", "--out=~/longer"},
      {"inspect", "~/new.state"},
      {"inspect", "~/train.yaml"},
      {"data", "~/text.txt", "--out=~/shards"},
      {"data", "~/shards", "--check"}};
  for (const auto& command : commands) {
    const Outcome r = natrix_at_home(scratch.path(), command);
    EXPECT_EQ(r.status, 0) << command[0] << ": " << r.err;
  }
  for (const char* name : {"scores", "gradients", "new.state", "longer", "shards"})
    EXPECT_TRUE(fs::exists(scratch / name)) << name;
  const Outcome plan =
      natrix_at_home(scratch.path(), {"plan", "~/train.yaml", "--ranks=1", "--device=~/m.yaml"});
  EXPECT_THAT(plan.err, HasSubstr(scratch / "m.yaml: cannot be read"));
  const Outcome plot = natrix_at_home(scratch.path(), {"plot", "~/run"});
  EXPECT_THAT(plot.err, HasSubstr(scratch / "run"));
}

TEST(Home, OfAnUnknownUserIsRefusedByName) {
  const std::string config = good_files() + "/train.yaml", model = good_files() + "/model";
  const std::vector<std::string> commands[] = {{"train", config, "run.dir=~no-such-user/x"},
                                               {"train", config, "data.train=[~no-such-user/x]"},
                                               {"train", "~no-such-user/x"},
                                               {"eval", model, "--data", "~no-such-user/x"},
                                               {"inspect", "~no-such-user/x"}};
  const ScratchDir scratch;
  for (const auto& command : commands) {
    const Outcome r = natrix_at_home(scratch.path(), command, scratch.path());
    EXPECT_EQ(r.status, 2) << r.err;
    EXPECT_THAT(r.err, HasSubstr("there is no user no-such-user"));
  }
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

TEST(EmptyPath, IsCalledEmpty) {
  const std::string config = good_files() + "/train.yaml", model = good_files() + "/model",
                    tokens = good_files() + "/tokens.safetensors";
  const ScratchDir scratch;
  const std::vector<std::string> commands[] = {{"train", config, "run.dir="},
                                               {"train", config, "run.dir=\"\""},
                                               {"train", config, "data.train="},
                                               {"train", config, "data.train=[\"\"]"},
                                               {"train", config, "model.init_from="},
                                               {"train", config, "data.batches="},
                                               {"train", config, "data.tokenizer="},
                                               {"train", ""},
                                               {"verify", ""},
                                               {"plan", "", "--ranks", "1", "--device", "h100"},
                                               {"plan", config, "--ranks", "1", "--device", ""},
                                               {"eval", "", "--data", "x"},
                                               {"eval", model, "--data", ""},
                                               {"eval", model, "--data", config, "--tokenizer", ""},
                                               {"score", model, "--tokens", "", "--out", scratch / "o"},
                                               {"score", model, "--tokens", tokens, "--out", ""},
                                               {"gradients", model, "--tokens", tokens, "--out", ""},
                                               {"generate", "", "-p", "x"},
                                               {"generate", model, "--prompt-file", ""},
                                               {"generate", model, "-p", "x", "--state-in", ""},
                                               {"generate", model, "-p", "x", "--state-out", ""},
                                               {"generate", model, "--tokens", tokens, "--out", ""},
                                               {"inspect", ""},
                                               {"data", "", "--out", scratch / "o"},
                                               {"data", config, "--out", ""},
                                               {"plot", ""},
                                               {"plot", scratch.path(), "--out", ""}};
  for (const auto& command : commands) {
    std::string words;
    for (const std::string& word : command) words += word + "|";
    const Outcome r = natrix_program(command);
    EXPECT_EQ(r.status, 2) << words << r.err;
    EXPECT_THAT(r.err, AnyOf(HasSubstr("path is empty"), HasSubstr("path of the list is empty"))) << words;
    EXPECT_THAT(r.err, Not(HasSubstr("did you mean"))) << words;
    EXPECT_EQ(r.out, "");
  }
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

TEST(PrintedPath, OfARunIsShort) {
  const TinyRun tiny;
  fs::create_directories(tiny / "configs");
  write_file(
      tiny / "configs/x.yaml",
      "extends: ../train.yaml\nrun: {dir: ../runs/x}\ntrain: {steps: 5}\ncheckpoint: {resume: never}\n");
  const Outcome first = natrix_at_home("/", {"train", "configs/x.yaml"}, tiny / "");
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_THAT(first.err, HasSubstr("the report is runs/x/report.html\n"));
  const Outcome again = natrix_at_home("/", {"train", "configs/x.yaml"}, tiny / "");
  EXPECT_EQ(again.status, 2);
  EXPECT_THAT(again.err, HasSubstr("run.dir runs/x: "));
  const Outcome elsewhere = natrix_at_home("/", {"train", "../configs/x.yaml"}, tiny / "runs");
  EXPECT_THAT(elsewhere.err, HasSubstr("run.dir x: "));
  const Outcome absolute = natrix_at_home("/", {"train", tiny / "configs/x.yaml"}, "/usr");
  EXPECT_THAT(absolute.err, HasSubstr("run.dir " + (tiny / "runs/x") + ": "));
}

struct Ignored {
  std::vector<std::string> command;
  std::vector<std::string> told;
};

TEST(WhatWouldBeIgnored, IsRefused) {
  const std::string config = good_files() + "/train.yaml", model = good_files() + "/model",
                    tokens = good_files() + "/tokens.safetensors", state = good_files() + "/prefix.state";
  const ScratchDir scratch;
  const Ignored all[] = {
      {{"inspect", trained_run(), "train.steps=3"}, {"train.steps=3", "configuration", "/config.yaml"}},
      {{"inspect", model, "model.d_model=3"}, {"model.d_model=3", "configuration", "directory"}},
      {{"inspect", state, "model.d_model=3"}, {"model.d_model=3", "configuration", "state file"}},
      {{"inspect", state, "--tensors"}, {"--tensors", "state file"}},
      {{"inspect", "/gone", "train.steps=3"}, {"/gone", "no such file"}},
      {{"train", config, "--print-config", "--json"}, {"--json", "--print-config"}},
      {{"train", config, "--dry-run", "--json"}, {"--json", "--dry-run"}},
      {{"train", config, "--dry-run", "--print-config"}, {"--dry-run", "--print-config"}},
      {{"verify", config, "parallel.cp=2"}, {"parallel.cp=2", "--layouts"}},
      {{"plan", config, "--ranks", "2", "--device", "h100", "parallel.cp=2"}, {"parallel.cp=2", "--layout"}},
      {{"eval", model, "--data", config, "train.steps=3"}, {"--data", "train.steps=3"}},
      {{"eval", model, "train.steps=3", "--data", config}, {"train.steps", "only parallel."}},
      {{"eval", model, "--data", config, "parallel.zero=1"}, {"parallel.zero", "only parallel."}},
      {{"generate", model, "parallel.bucket=1MiB", "-p", "x"}, {"parallel.bucket", "only parallel."}},
      {{"generate", model, "--tokens", tokens, "--out", scratch / "o", "--tokenizer", "bytes"},
       {"--tokenizer", "--tokens"}},
      {{"data", scratch.path(), "--check", "--shard-tokens", "8"}, {"--check", "--shard-tokens"}},
      {{"data", scratch.path(), "--check", "--tokenizer", "bytes"}, {"--check", "--tokenizer"}},
      {{"data", scratch.path(), "--check", "--out", scratch / "o"}, {"--check", "--out"}}};
  for (const Ignored& i : all) {
    const Outcome r = natrix_program(i.command);
    EXPECT_EQ(r.status, 2) << i.command.back() << r.err;
    EXPECT_EQ(r.out, "");
    for (const std::string& part : i.told) EXPECT_THAT(r.err, HasSubstr(part));
  }
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

TEST(InspectJson, ListsTensorsWhereTheyAreAskedFor) {
  const nlohmann::json model = natrix_json({"inspect", good_files() + "/model", "--tensors"});
  int64_t elements = 0;
  for (const auto& tensor : model["tensors"]) {
    int64_t count = 1;
    for (const auto& extent : tensor["shape"]) count *= extent.get<int64_t>();
    elements += count;
  }
  EXPECT_EQ(elements, model["parameters"]);
  EXPECT_FALSE(natrix_json({"inspect", good_files() + "/model"}).contains("tensors"));
}

}  // namespace
}  // namespace natrix::test
