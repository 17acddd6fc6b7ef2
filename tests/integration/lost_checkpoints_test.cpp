// A run whose checkpoints have disappeared is refused, instead of starting again at step 0 over its remains.
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "distributed/mpi_communicator.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

struct Loss {
  std::string name;
  std::function<void(const std::string& run)> inflict;
  std::vector<std::string> parts;  // of the message
};

std::ostream& operator<<(std::ostream& out, const Loss& loss) {
  return out << loss.name;
}

void remove_checkpoints(const std::string& run) {
  for (const std::string& name : checkpoints(run)) {
    if (name.starts_with("step-")) fs::remove_all(run + "/checkpoints/" + name);
  }
}

const Loss kLosses[] = {
    {"all", remove_checkpoints, {"checkpoints/latest names step-00000040, which is not there"}},
    {"the_latest",
     [](auto& run) { fs::remove_all(run + "/checkpoints/step-00000040"); },
     {"latest names step-00000040, which is not there", "echo step-00000030 > "}},
    {"latest_too",
     [](auto& run) {
       remove_checkpoints(run);
       fs::remove(run + "/checkpoints/latest");
     },
     {"metrics.jsonl has the steps of a run, but there is no checkpoint in "}},
    {"the_folder",
     [](auto& run) { fs::remove_all(run + "/checkpoints"); },
     {"metrics.jsonl has the steps of a run"}},
    {"a_disk",
     [](auto& run) {
       fs::remove_all(run + "/checkpoints");
       fs::create_directory_symlink("/nowhere/mounted", run + "/checkpoints");
     },
     {"checkpoints is a link to /nowhere/mounted, which is not there"}},
    {"a_disk_of_one",
     [](auto& run) {
       fs::remove_all(run + "/checkpoints/step-00000040");
       fs::create_directory_symlink("/nowhere/mounted", run + "/checkpoints/step-00000040");
     },
     {"latest names step-00000040, which is not there"}},
    {"where_latest_is_damaged",
     [](auto& run) {
       remove_checkpoints(run);
       write_file(run + "/checkpoints/latest", "step-");
     },
     {"checkpoints/latest", "expected a checkpoint's name"}},
};

class Lost : public ::testing::TestWithParam<Loss> {};

TEST_P(Lost, CheckpointsEndTheCommandAndNothingIsTouched) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  GetParam().inflict(tiny / "run");
  const auto before = snapshot(tiny / "run");
  for (const std::string resume : {"auto", "never"}) {
    const Outcome refused = tiny.train("run", {"train.steps=50", "checkpoint.resume=" + resume});
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("natrix: run.dir " + tiny / "run"));
    if (resume == "auto" || GetParam().name != "the_latest") {
      for (const std::string& part : GetParam().parts) EXPECT_THAT(refused.err, HasSubstr(part));
    }
    EXPECT_THAT(refused.err, HasSubstr("choose another run.dir or remove this one"));
    EXPECT_EQ(snapshot(tiny / "run"), before);
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Lost, ::testing::ValuesIn(kLosses),
                         [](const auto& info) { return info.param.name; });

TEST(LostCheckpoints, AnotherCanBeNamedInstead) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("whole").status, 0);
  fs::copy(tiny / "whole", tiny / "run", fs::copy_options::recursive);
  fs::remove_all(tiny / "run/checkpoints/step-00000040");
  write_file(tiny / "run/checkpoints/latest", "step-00000030\n");
  const Outcome again = tiny.train("run");
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("going on after step 30/40"));
  EXPECT_EQ(curve(tiny / "whole"), curve(tiny / "run"));
}

TEST(LostCheckpoints, ADamagedLatestIsNotNeeded) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  write_file(tiny / "run/checkpoints/latest", "");
  const Outcome again = tiny.train("run", {"train.steps=50"});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("warning: " + tiny / "run/checkpoints/latest"));
  EXPECT_THAT(again.err, HasSubstr("going on after step 40/50"));
}

TEST(LostCheckpoints, ARunThatNeverSavedStartsAnew) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run", {}, {.most_file_bytes = 20'000}).status, 1);  // no room for a checkpoint
  EXPECT_EQ(lines_logged(tiny / "run"), 0);
  const Outcome again = tiny.train("run");
  EXPECT_EQ(again.status, 0) << again.err;
}

TEST(LostCheckpoints, ARunDirectoryThatIsABrokenLinkIsNamed) {
  const TinyRun tiny;
  fs::create_directory_symlink("/nowhere/mounted", tiny / "run");
  const Outcome refused = tiny.train("run");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("is a link to /nowhere/mounted, which is not there"));
}

TEST(LostCheckpoints, ReadersOfTheRunNameTheMissingOne) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  fs::remove_all(tiny / "run/checkpoints/step-00000040");
  const Outcome refused = natrix_program({"eval", tiny / "run", "--data", tiny / "text.txt"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("latest names step-00000040, which is not there"));
}

TEST(LostCheckpoints, EndEveryRank) {
  if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  remove_checkpoints(tiny / "run");
  const auto before = snapshot(tiny / "run");
  std::vector<std::string> words = mpirun_words(2);
  words.insert(words.end(), {"train", tiny.config(), "run.dir=" + (tiny / "run"), "device.threads=1"});
  const Outcome refused = any_program(words);
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("step-00000040, which is not there"));
  EXPECT_EQ(snapshot(tiny / "run"), before);
}

}  // namespace
}  // namespace natrix::test
