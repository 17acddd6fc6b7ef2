// Data that change between the parts of a run, or under it.
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files/safetensors.h"
#include "distributed/mpi_communicator.h"
#include "kernels/base/buffer.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const std::vector<std::string> kCarried = {"sequence.carry_state=true", "data.order=sequential"};

std::vector<std::string> settings(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class DataChanged : public ::testing::Test {
 protected:
  DataChanged() {
    write_file(tiny_ / "d/a.txt", some_text(4000));
    write_file(tiny_ / "d/b.txt", some_text(2000, 2));
  }
  Outcome train(const std::vector<std::string>& overrides = {}) const {
    return tiny_.train("run", settings({"data.train=[" + tiny_ / "d" + "]"}, overrides));
  }
  /// One line, and the run goes on; from then on the data are what they are.
  void expect_noted(const std::string& line, const std::vector<std::string>& overrides = {}) const {
    const Outcome noted = train(settings({"train.steps=50"}, overrides));
    EXPECT_EQ(noted.status, 0) << noted.err;
    EXPECT_THAT(noted.err, HasSubstr(line + "\n"));
    EXPECT_THAT(noted.err, HasSubstr("going on after step 40/50"));
    const Outcome again = train(settings({"train.steps=60"}, overrides));
    EXPECT_EQ(again.status, 0) << again.err;
    EXPECT_THAT(again.err, Not(HasSubstr("data.")));
  }
  void expect_refused(const std::vector<std::string>& overrides,
                      const std::vector<std::string>& parts) const {
    const auto before = snapshot(tiny_ / "run");
    const Outcome refused = train(settings({"train.steps=50"}, overrides));
    EXPECT_EQ(refused.status, 2) << refused.err;
    for (const std::string& part : parts) EXPECT_THAT(refused.err, HasSubstr(part));
    EXPECT_THAT(refused.err, HasSubstr("to start from scratch, choose another run.dir or remove this one"));
    EXPECT_EQ(snapshot(tiny_ / "run"), before);
  }

  TinyRun tiny_;
};

TEST_F(DataChanged, AShorterFileIsNoted) {
  ASSERT_EQ(train().status, 0);
  fs::resize_file(tiny_ / "d/a.txt", 2000);
  expect_noted("data.train changed since the run began: a.txt is 2000 bytes, was 4000");
}

TEST_F(DataChanged, ANewFileIsNoted) {
  ASSERT_EQ(train().status, 0);
  write_file(tiny_ / "d/new.txt", "new");
  expect_noted("data.train changed since the run began: new.txt is new");
}

TEST_F(DataChanged, OtherContentOfTheSameSizeIsNoted) {
  ASSERT_EQ(train().status, 0);
  write_file(tiny_ / "d/a.txt", some_text(4000, 3));
  expect_noted("data.train changed since the run began: a.txt has other content in as many bytes (4000)");
}

TEST_F(DataChanged, HeldOutTextIsNotedAndNeverInTheWay) {
  const auto held_out =
      settings(kCarried, {"data.eval=[" + tiny_ / "held-out.txt" + "]", "train.eval_every=20"});
  write_file(tiny_ / "held-out.txt", some_text(400, 4));
  ASSERT_EQ(train(held_out).status, 0);
  write_file(tiny_ / "held-out.txt", some_text(500, 4));
  expect_noted("data.eval changed since the run began: held-out.txt is 500 bytes, was 400", held_out);
}

TEST_F(DataChanged, ANewerFileOfTheSameContentIsTheSame) {
  ASSERT_EQ(train(kCarried).status, 0);
  write_file(tiny_ / "d/a.txt", some_text(4000));
  fs::last_write_time(tiny_ / "d/b.txt", fs::file_time_type::clock::now() + std::chrono::hours(1));
  const Outcome again = train(settings(kCarried, {"train.steps=50"}));
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, Not(HasSubstr("data.train")));
}

TEST_F(DataChanged, TheSameDataElsewhereGoOnWithCarriedStates) {
  ASSERT_EQ(train(kCarried).status, 0);
  fs::rename(tiny_ / "d", tiny_ / "moved");
  const Outcome again =
      tiny_.train("run", settings(kCarried, {"train.steps=50", "data.train=[" + tiny_ / "moved" + "]"}));
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, Not(HasSubstr("data.train changed")));
}

TEST_F(DataChanged, CarriedStatesAreNotCarriedIntoOtherText) {
  ASSERT_EQ(train(kCarried).status, 0);
  expect_refused(
      settings(kCarried, {"sequence.length=16"}),
      {"sequence.length must stay as it was while states are carried", "sequence.length: 16, was 32"});
  expect_refused(settings(kCarried, {"train.batch_size=4"}),
                 {"train.batch_size must stay as it was", ": 4, was 2"});
  expect_refused(settings(kCarried, {"train.batch_size=4", "sequence.length=16"}),
                 {"sequence.length and train.batch_size must stay as it was"});
  write_file(tiny_ / "d/new.txt", "new");
  expect_refused(kCarried, {"data.train must stay as it was", "data.train: new.txt is new"});
  fs::remove(tiny_ / "d/new.txt");
  EXPECT_EQ(train(settings(kCarried, {"train.steps=50"})).status, 0);
  fs::remove(tiny_ / "run/run.json");  // a run of an earlier version
  write_file(tiny_ / "d/new.txt", "new");
  const Outcome old = train(settings(kCarried, {"train.steps=60"}));
  EXPECT_EQ(old.status, 0) << old.err;
  EXPECT_THAT(old.err, Not(HasSubstr("data.")));
}

TEST_F(DataChanged, NothingIsCarriedBeforeTheFirstStep) {
  ASSERT_EQ(train(settings(kCarried, {"train.steps=1", "optimizer.warmup_steps=0"})).status, 0);
  fs::remove_all(tiny_ / "run/checkpoints/step-00000001");
  write_file(tiny_ / "run/checkpoints/latest", "step-00000000\n");
  write_file(tiny_ / "d/new.txt", "new");
  const Outcome again = train(kCarried);
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("new.txt is new"));
}

class BatchesChanged : public ::testing::Test {
 protected:
  void write(int64_t steps, int64_t first = 0) const {
    Buffer tokens(Dtype::kI64, {steps, 2, 33});
    for (int64_t i = 0; i < tokens.view().count(); ++i)
      tokens.view().as<int64_t>()[i] = (first + i * i) % 251;
    write_safetensors(path_, {{"tokens", tokens.view()}});
  }
  Outcome train(const std::vector<std::string>& overrides, const ProgramOptions& options = {}) const {
    return natrix_program(settings({"train", config_, "data.batches=" + path_}, overrides), options);
  }

  BatchesChanged() {
    std::string yaml = read_file(tiny_.config());
    yaml.replace(yaml.find("data:"), std::string("data: {train: [text.txt]}").size(), "run: {dir: run}");
    yaml.replace(yaml.find("pattern:"), 0, "vocab_size: 257\n  ");
    write_file(config_, yaml);
  }

  TinyRun tiny_;
  std::string path_ = tiny_ / "tokens.safetensors", config_ = tiny_ / "batches.yaml";
};

TEST_F(BatchesChanged, AreNotedOrRefused) {
  write(50);
  ASSERT_EQ(train({}).status, 0);
  write(50, 7);
  const Outcome noted = train({"train.steps=45"});
  EXPECT_EQ(noted.status, 0) << noted.err;
  EXPECT_THAT(noted.err,
              HasSubstr("data.batches changed since the run began: tokens.safetensors has other content"));

  const std::vector<std::string> carried = {"sequence.carry_state=true", "run.dir=" + tiny_ / "carried"};
  ASSERT_EQ(train(carried).status, 0);
  write(50, 9);
  const Outcome refused = train(settings(carried, {"train.steps=45"}));
  EXPECT_EQ(refused.status, 2) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("data.batches must stay as it was"));
}

/// Does something to the data once the run has logged so many lines.
ProgramOptions after_lines(const std::string& run, int64_t lines, std::function<void()> change) {
  return {.signal_when = [=, done = false]() mutable {
    if (!done && lines_logged(run) >= lines) {
      done = true;
      change();
    }
    return 0;
  }};
}

void expect_saved_at_its_end(const Outcome& outcome, const std::string& run, const std::string& file) {
  EXPECT_EQ(outcome.status, 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(file));
  EXPECT_THAT(outcome.err, HasSubstr("the run ends after step " + std::to_string(last_step_logged(run))));
  EXPECT_EQ(newest_checkpoint(run), last_step_logged(run));
}

TEST(DataUnderARun, ThatIsCutShortEndsItWithAllSaved) {
  const TinyRun tiny;
  const std::vector<std::string> overrides = {"train.steps=3000", "checkpoint.every=0"};
  const std::string text = read_file(tiny / "text.txt");
  const Outcome cut = tiny.train(
      "run", overrides, after_lines(tiny / "run", 20, [&] { fs::resize_file(tiny / "text.txt", 100); }));
  expect_saved_at_its_end(cut, tiny / "run", "text.txt ends at byte 100, but had 6000 bytes");
  const int64_t step = last_step_logged(tiny / "run");
  ASSERT_LT(step, 3000);
  write_file(tiny / "text.txt", text);
  const std::string steps = "train.steps=" + std::to_string(step + 10);
  const Outcome again = tiny.train("run", {steps, "checkpoint.every=0", "optimizer.schedule=constant"});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("going on after step " + std::to_string(step)));
  EXPECT_THAT(again.err, Not(HasSubstr("data.train")));
}

TEST(DataUnderARun, ThatIsCutShortForItsEvaluationEndsItWithAllSaved) {
  const TinyRun tiny;
  write_file(tiny / "held-out.txt", some_text(3000, 2));
  const Outcome cut =
      tiny.train("run",
                 {"train.steps=3000", "checkpoint.every=0", "train.eval_every=50",
                  "data.eval=[" + tiny / "held-out.txt" + "]"},
                 after_lines(tiny / "run", 20, [&] { fs::resize_file(tiny / "held-out.txt", 100); }));
  expect_saved_at_its_end(cut, tiny / "run", "held-out.txt ends at byte 100");
}

TEST(DataUnderARun, ThatGoesEndsItWithAllSaved) {
  const TinyRun tiny;
  for (int i = 0; i < 300; ++i)
    write_file(tiny / "d/" + std::to_string(1000 + i), some_text(40));  // 256 stay open
  const auto remove_some = [&] {
    for (int i = 256; i < 300; ++i) fs::remove(tiny / "d/" + std::to_string(1000 + i));
  };
  const Outcome gone =
      tiny.train("run", {"train.steps=3000", "checkpoint.every=0", "data.train=[" + tiny / "d" + "]"},
                 after_lines(tiny / "run", 20, remove_some));
  expect_saved_at_its_end(gone, tiny / "run", "No such file");
}

TEST_F(BatchesChanged, ThatAreCutShortUnderARunEndItWithAllSaved) {
  write(3000);
  const std::string run = tiny_ / "run";
  const Outcome cut =
      train({"train.steps=3000", "checkpoint.every=0"},
            after_lines(run, 20, [&] { fs::resize_file(path_, fs::file_size(path_) / 100); }));
  expect_saved_at_its_end(cut, run, "tokens.safetensors ends at byte");
}

TEST(DataUnderARun, ThatOneRankCannotReadEndsAllWithAllSaved) {
  if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  const TinyRun tiny;
  std::vector<std::string> words = mpirun_words(2);
  // Row 1, which is read by rank 1, is the second half of the text.
  words.insert(words.end(),
               {"train", tiny.config(), "run.dir=" + (tiny / "run"), "device.threads=1", "train.steps=3000",
                "checkpoint.every=0", "data.order=sequential", "parallel.dp=2", "parallel.timeout=20s"});
  const Outcome cut =
      any_program(words, after_lines(tiny / "run", 20, [&] { fs::resize_file(tiny / "text.txt", 3050); }));
  expect_saved_at_its_end(cut, tiny / "run", "natrix: rank 1: " + tiny / "text.txt" + " ends at byte 3050");
}

TEST(DataUnderARun, ThatChangedEndsEveryRankWhereStatesAreCarried) {
  if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run", kCarried).status, 0);
  fs::resize_file(tiny / "text.txt", 5000);
  const auto before = snapshot(tiny / "run");
  std::vector<std::string> words = mpirun_words(2);
  words.insert(words.end(),
               {"train", tiny.config(), "run.dir=" + (tiny / "run"), "device.threads=1", "train.steps=50"});
  const Outcome refused = any_program(settings(words, kCarried));
  EXPECT_EQ(refused.status, 2) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("data.train must stay as it was"));
  EXPECT_EQ(snapshot(tiny / "run"), before);
}

}  // namespace
}  // namespace natrix::test
