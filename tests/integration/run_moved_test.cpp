// Runs that are moved, copied or renamed; runs whose initial model is gone; different paths to the same run.
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

void expect_goes_on(const Outcome& outcome, const std::string& run, int64_t step) {
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("going on after step 40/" + std::to_string(step)));
  EXPECT_EQ(newest_checkpoint(run), step);
}

Outcome train(const std::string& config, const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> args = {"train", config};
  args.insert(args.end(), overrides.begin(), overrides.end());
  return natrix_program(args);
}

TEST(RunMoved, GoesOnWhereItLies) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("whole", {"train.steps=50", "optimizer.schedule=constant"}).status, 0);
  ASSERT_EQ(tiny.train("run", {"optimizer.schedule=constant"}).status, 0);
  fs::copy(tiny / "run", tiny / "copy", fs::copy_options::recursive);
  fs::rename(tiny / "run", tiny / "moved");
  expect_goes_on(train(tiny / "moved", {"train.steps=50"}), tiny / "moved", 50);
  EXPECT_EQ(weights(tiny / "moved", 50), weights(tiny / "whole", 50));
  EXPECT_EQ(curve(tiny / "moved"), curve(tiny / "whole"));
  expect_goes_on(train(tiny / "copy/config.yaml", {"train.steps=50"}), tiny / "copy", 50);
  EXPECT_FALSE(fs::exists(tiny / "run"));
  EXPECT_THAT(read_file(tiny / "moved/config.yaml"), HasSubstr("dir: " + tiny / "moved"));
}

TEST(RunMoved, IsKnownWithoutItsRecord) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  fs::remove(tiny / "run/run.json");  // as runs of earlier versions
  fs::rename(tiny / "run", tiny / "moved");
  expect_goes_on(train(tiny / "moved/", {"train.steps=50"}), tiny / "moved", 50);
  EXPECT_TRUE(fs::exists(tiny / "moved/run.json"));
}

TEST(RunMoved, TheCommandLineIsStronger) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  const Outcome other = train(tiny / "run", {"run.dir=" + tiny / "other"});
  EXPECT_EQ(other.status, 0) << other.err;
  EXPECT_THAT(other.err, Not(HasSubstr("going on")));
  EXPECT_EQ(curve(tiny / "other"), curve(tiny / "run"));
}

TEST(RunMoved, SaysWhichDataDidNotComeAlong) {
  const TinyRun tiny;
  const std::string from = tiny / "p", to = tiny / "q";
  write_file(from + "/text.txt", read_file(tiny / "text.txt"));
  const std::string data = "data.train=[" + from + "/text.txt]";
  ASSERT_EQ(tiny.train("p/run", {data}).status, 0);
  fs::rename(from, to);
  const auto before = snapshot(to);
  const Outcome missing = train(to + "/run", {"train.steps=50"});
  EXPECT_EQ(missing.status, 2);
  EXPECT_THAT(missing.err, HasSubstr("data.train: " + from + "/text.txt does not exist"));
  EXPECT_THAT(missing.err, HasSubstr("'data.train=[" + to + "/text.txt]'"));
  EXPECT_EQ(snapshot(to), before);
  expect_goes_on(train(to + "/run", {"train.steps=50", "data.train=[" + to + "/text.txt]"}), to + "/run", 50);
  fs::rename(to + "/text.txt", to + "/elsewhere.txt");
  EXPECT_THAT(train(to + "/run", {"train.steps=60"}).err, HasSubstr("'data.train=[PATH]'"));
}

TEST(RunMoved, OtherCommandsTakeItAsAConfiguration) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  fs::rename(tiny / "run", tiny / "moved");
  for (const std::string& config : {tiny / "moved", tiny / "moved/config.yaml"}) {
    EXPECT_EQ(natrix_program({"verify", config, "--chunks", "whole,8"}).status, 0);
    EXPECT_EQ(
        natrix_program({"plan", config, "--ranks", "2", "--device", "h100", "device.dtype=fp32"}).status, 0);
  }
  const Outcome inspected = natrix_program({"inspect", tiny / "moved/config.yaml"});
  EXPECT_EQ(inspected.status, 0);
  EXPECT_THAT(inspected.out, HasSubstr("dir: " + tiny / "moved"));
  EXPECT_THAT(natrix_program({"inspect", tiny / "moved"}).out, HasSubstr("moved/checkpoints/step-00000040"));
}

TEST(RunMoved, ADirectoryWithoutARunIsNoConfiguration) {
  const TinyRun tiny;
  write_file(tiny / "folder/config.yaml", read_file(tiny.config()));
  const Outcome refused = train(tiny / "folder");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("folder is a directory, but not that of a run"));
}

// A file of the user's that happens to have that name.
TEST(RunMoved, AUsersConfigYamlKeepsItsRunDir) {
  const TinyRun tiny;
  write_file(tiny / "mine/config.yaml", "run: {dir: out}\n" + read_file(tiny.config()));
  write_file(tiny / "mine/text.txt", read_file(tiny / "text.txt"));
  fs::create_directories(tiny / "mine/checkpoints/pretrained");
  for (int i = 0; i < 2; ++i) {
    const Outcome done = train(tiny / "mine/config.yaml");
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_EQ(newest_checkpoint(tiny / "mine/out"), 40);
  }
}

class InitFrom : public ::testing::Test {
 protected:
  InitFrom() {
    EXPECT_EQ(tiny_.train("first").status, 0);
    fs::rename(tiny_ / "first/checkpoints/step-00000040", tiny_ / "base");
    fs::remove_all(tiny_ / "first");
    std::string yaml = read_file(tiny_.config());
    yaml.replace(0, yaml.find("sequence:"), "model: {init_from: base}\n");
    write_file(config_, yaml);
  }
  Outcome train_tuned(const std::vector<std::string>& overrides = {}) const {
    std::vector<std::string> all = {"run.dir=" + tiny_ / "run"};
    all.insert(all.end(), overrides.begin(), overrides.end());
    return train(config_, all);
  }

  TinyRun tiny_;
  std::string config_ = tiny_ / "tune.yaml";
};

TEST_F(InitFrom, IsNotNeededOnceThereIsACheckpoint) {
  ASSERT_EQ(
      train_tuned({"run.dir=" + tiny_ / "whole", "train.steps=50", "optimizer.schedule=constant"}).status, 0);
  ASSERT_EQ(train_tuned({"optimizer.schedule=constant"}).status, 0);
  fs::remove_all(tiny_ / "base");
  expect_goes_on(train_tuned({"train.steps=50", "optimizer.schedule=constant"}), tiny_ / "run", 50);
  EXPECT_EQ(curve(tiny_ / "run"), curve(tiny_ / "whole"));
  for (const auto& entry : fs::directory_iterator(tiny_ / "whole/checkpoints/step-00000050")) {
    const std::string name = entry.path().filename();
    if (!name.ends_with(".json")) continue;
    EXPECT_EQ(read_file(tiny_ / "run/checkpoints/step-00000050/" + name), read_file(entry.path())) << name;
  }
  const Outcome other = train_tuned({"run.dir=" + tiny_ / "other"});
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.err, HasSubstr("base"));
}

TEST_F(InitFrom, MayHaveMoved) {
  ASSERT_EQ(train_tuned().status, 0);
  fs::rename(tiny_ / "base", tiny_ / "elsewhere");
  expect_goes_on(train_tuned({"train.steps=50", "model.init_from=" + tiny_ / "elsewhere"}), tiny_ / "run",
                 50);
  const Outcome own = train(tiny_ / "run", {"train.steps=60"});
  EXPECT_EQ(own.status, 0) << own.err;
}

TEST_F(InitFrom, TheSameArchitectureMaySayItItself) {
  ASSERT_EQ(train_tuned().status, 0);
  expect_goes_on(tiny_.train("run", {"train.steps=50"}), tiny_ / "run", 50);
  const Outcome spelt = tiny_.train("run", {"train.steps=60", "model.mamba.dt_rank=1", "model.mlp.d_ff=77"});
  EXPECT_EQ(spelt.status, 0) << spelt.err;  // no layer of this stack is an MLP
}

TEST_F(InitFrom, OfAnotherModelIsRefused) {
  ASSERT_EQ(train_tuned().status, 0);
  ASSERT_EQ(tiny_.train("wide", {"model.d_model=24"}).status, 0);
  const auto before = snapshot(tiny_ / "run");
  const Outcome wide = train_tuned({"model.init_from=" + tiny_ / "wide"});
  EXPECT_EQ(wide.status, 2);
  EXPECT_THAT(wide.err, HasSubstr("is another model than that of the run"));
  EXPECT_THAT(wide.err, HasSubstr("model.d_model"));
  fs::remove_all(tiny_ / "base");
  for (const std::string key : {"model.d_model=24", "model.moe.top_k=1", "model.pattern=MEM"}) {
    const Outcome refused = train_tuned({key});
    EXPECT_EQ(refused.status, 2) << key;
    EXPECT_THAT(refused.err,
                HasSubstr("its checkpoints are of another model: " + key.substr(0, key.find('='))));
  }
  EXPECT_EQ(snapshot(tiny_ / "run"), before);
}

TEST(Stack, MayBeSpeltInTwoWays) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run", {"model.pattern=ME", "model.repeat=2"}).status, 0);
  expect_goes_on(tiny.train("run", {"model.pattern=MEME", "train.steps=50"}), tiny / "run", 50);
  EXPECT_EQ(tiny.train("run", {"model.pattern=ME"}).status, 2);
}

/// Files a/x.yaml and b/x.yaml with a text each, run in a directory of their own: both mean runs/x.
class SameName : public ::testing::Test {
 protected:
  SameName() {
    for (const std::string folder : {"a", "b"}) {
      write_file(tiny_ / folder + "/text.txt", some_text(6000, folder == "a" ? 1 : 2));
      write_file(tiny_ / folder + "/x.yaml", read_file(tiny_.config()) + (folder == "a" ? "" : "# b\n"));
    }
    fs::create_directory(tiny_ / "work");
  }
  Outcome train_in_work(const std::string& config, const std::vector<std::string>& overrides = {}) const {
    std::vector<std::string> words = {"env", "-C", tiny_ / "work", NATRIX_PROGRAM, "train", config};
    words.insert(words.end(), overrides.begin(), overrides.end());
    return any_program(words);
  }
  void expect_goes_on_in_work(const Outcome& outcome, int64_t step) const {
    expect_goes_on(outcome, tiny_ / "work/runs/x", step);
  }
  void expect_other_file(const std::string& config) const {
    const auto before = snapshot(tiny_ / "work");
    const Outcome refused = train_in_work(config, {"train.steps=50"});
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("was started from " + tiny_ / "a/x.yaml"));
    EXPECT_THAT(refused.err, HasSubstr("not from " + config));
    EXPECT_THAT(refused.err, HasSubstr("set run.dir"));
    EXPECT_EQ(snapshot(tiny_ / "work"), before);
  }

  TinyRun tiny_;
};

TEST_F(SameName, InAnotherFolderIsAnotherRun) {
  ASSERT_EQ(train_in_work("../a/x.yaml").status, 0);
  expect_other_file("../b/x.yaml");
  // A copy, whose relative paths mean other data.
  write_file(tiny_ / "b/x.yaml", read_file(tiny_ / "a/x.yaml"));
  expect_other_file("../b/x.yaml");
  expect_goes_on_in_work(train_in_work("../b/x.yaml", {"train.steps=50", "run.dir=runs/x"}), 50);
}

TEST_F(SameName, OfTheSameFileGoesOn) {
  ASSERT_EQ(train_in_work("../a/x.yaml").status, 0);
  write_file(tiny_ / "a/x.yaml", read_file(tiny_ / "a/x.yaml") + "# edited\n");
  expect_goes_on_in_work(train_in_work(tiny_ / "a/x.yaml", {"train.steps=50"}), 50);
}

TEST_F(SameName, OfAMovedFileGoesOn) {
  ASSERT_EQ(train_in_work("../a/x.yaml").status, 0);
  fs::rename(tiny_ / "a", tiny_ / "c");
  expect_goes_on_in_work(train_in_work("../c/x.yaml", {"train.steps=50"}), 50);
  const auto record = nlohmann::json::parse(read_file(tiny_ / "work/runs/x/run.json"));
  EXPECT_EQ(record["config"]["file"], tiny_ / "c/x.yaml");
}

TEST_F(SameName, OfACopyOnTheSameDataGoesOn) {
  ASSERT_EQ(train_in_work("../a/x.yaml").status, 0);
  write_file(tiny_ / "b/x.yaml", read_file(tiny_ / "a/x.yaml"));
  write_file(tiny_ / "b/text.txt", read_file(tiny_ / "a/text.txt"));
  expect_goes_on_in_work(train_in_work("../b/x.yaml", {"train.steps=50"}), 50);
}

TEST_F(SameName, OfAnEditedFileInAnotherPlaceGoesOnIfTheDataAreTheSame) {
  ASSERT_EQ(train_in_work("../a/x.yaml").status, 0);
  fs::rename(tiny_ / "a/x.yaml", tiny_ / "a/old.yaml");
  expect_other_file("../b/x.yaml");
  write_file(tiny_ / "b/text.txt", read_file(tiny_ / "a/text.txt"));
  expect_goes_on_in_work(train_in_work("../b/x.yaml", {"train.steps=50"}), 50);
}

}  // namespace
}  // namespace natrix::test
