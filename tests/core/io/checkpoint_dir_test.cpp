// Checkpoints of a run: complete or invisible, whatever happens half-way.
#include "core/io/checkpoint_dir.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/check.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;
using test::mentions;
using test::message_of;
using test::ScratchDir;

void fill(const std::string& dir, const std::string& content) {
  test::write_file(dir + "/config.json", "{}");
  test::write_file(dir + "/model.safetensors", content);
  fs::create_directory(dir + "/trainer");
  test::write_file(dir + "/trainer/optimizer.safetensors", "moments of " + content);
}

std::string write_checkpoint(const std::string& root, int64_t step, const std::string& content = "weights") {
  CheckpointWriter writer(root, step);
  fill(writer.path(), content);
  return writer.commit();
}

struct Found {
  std::optional<FoundCheckpoint> checkpoint;
  std::vector<std::string> warnings;
};

Found find(const std::string& root) {
  Found f;
  f.checkpoint = find_latest_valid(root, [&](const std::string& warning) { f.warnings.push_back(warning); });
  return f;
}

void flip_bit(const std::string& path, size_t at) {
  std::string bytes = test::read_file(path);
  bytes.at(at) = static_cast<char>(bytes[at] ^ 4);
  test::write_file(path, bytes);
}

TEST(CheckpointDir, CommitMakesAVerifiedCheckpointAndNamesItLatest) {
  const ScratchDir dir;
  const std::string root = dir / "run/checkpoints";
  EXPECT_EQ(write_checkpoint(root, 100), root + "/step-00000100");
  EXPECT_EQ(write_checkpoint(root, 200), root + "/step-00000200");
  EXPECT_EQ(test::read_file(root + "/latest"), "step-00000200\n");
  EXPECT_EQ(test::entries_in(root), 3);
  verify_checkpoint(root + "/step-00000100");
  const Found f = find(root);
  EXPECT_EQ(f.checkpoint->dir, root + "/step-00000200");
  EXPECT_EQ(f.checkpoint->step, 200);
  EXPECT_TRUE(f.warnings.empty());
}

TEST(CheckpointDir, NothingIsVisibleWithoutCommit) {
  const ScratchDir dir;
  {
    CheckpointWriter writer(dir / "c", 1);
    fill(writer.path(), "weights");
    EXPECT_FALSE(find_latest_valid(dir / "nowhere", [](const std::string&) {}).has_value());
  }
  EXPECT_EQ(test::entries_in(dir / "c"), 0);
}

TEST(CheckpointDir, TheSameStepAgainReplacesIt) {
  const ScratchDir dir;
  write_checkpoint(dir.path(), 7, "first");
  const std::string path = write_checkpoint(dir.path(), 7, "second");
  EXPECT_EQ(test::read_file(path + "/model.safetensors"), "second");
  EXPECT_EQ(test::entries_in(dir.path()), 2);
  verify_checkpoint(path);
}

TEST(CheckpointDir, NoRunOrNoCheckpointIsNoError) {
  const ScratchDir dir;
  EXPECT_FALSE(find(dir / "nowhere").checkpoint.has_value());
  EXPECT_FALSE(find(dir.path()).checkpoint.has_value());
}

TEST(CheckpointDir, DamageOfAnyFileFallsBackWithAReason) {
  const std::vector<std::pair<std::string, std::function<void(const std::string&)>>> damages = {
      {"checksum", [](const std::string& d) { flip_bit(d + "/model.safetensors", 3); }},
      {"checksum", [](const std::string& d) { flip_bit(d + "/trainer/optimizer.safetensors", 0); }},
      {"bytes", [](const std::string& d) { test::write_file(d + "/model.safetensors", "weight"); }},
      {"bytes", [](const std::string& d) { test::write_file(d + "/model.safetensors", ""); }},
      {"No such file", [](const std::string& d) { fs::remove(d + "/config.json"); }},
      {"No such file", [](const std::string& d) { fs::remove_all(d + "/trainer"); }},
      {"manifest.json", [](const std::string& d) { fs::remove(d + "/manifest.json"); }},
      {"manifest.json", [](const std::string& d) { test::write_file(d + "/manifest.json", ""); }},
      {"not valid JSON",
       [](const std::string& d) {
         const std::string m = test::read_file(d + "/manifest.json");
         test::write_file(d + "/manifest.json", m.substr(0, m.size() / 2));
       }},
      {"version",
       [](const std::string& d) {
         test::write_file(d + "/manifest.json", "{\"version\": 2, \"files\": []}");
       }},
      {"inside the checkpoint",
       [](const std::string& d) {
         test::write_file(d + "/manifest.json",
                          R"({"version": 1, "files": [{"name": "../latest", "size": 14, "xxh3_64": ""}]})");
       }},
      {"manifest.json", [](const std::string& d) { fs::remove_all(d), fs::create_directory(d); }},
  };
  for (const auto& [reason, damage] : damages) {
    const ScratchDir dir;
    const std::string good = write_checkpoint(dir.path(), 100), bad = write_checkpoint(dir.path(), 200);
    damage(bad);
    SCOPED_TRACE(reason);
    EXPECT_TRUE(mentions(message_of<InputError>([&] { verify_checkpoint(bad); }), bad));
    const Found f = find(dir.path());
    ASSERT_TRUE(f.checkpoint.has_value());
    EXPECT_EQ(f.checkpoint->dir, good);
    ASSERT_EQ(f.warnings.size(), 1u);
    EXPECT_TRUE(mentions(f.warnings[0], bad));
    EXPECT_TRUE(mentions(f.warnings[0], reason));
  }
}

TEST(CheckpointDir, AFlippedBitInAnyByteOfAManifestIsNoticedOrHarmless) {
  const ScratchDir dir;
  const std::string path = write_checkpoint(dir.path(), 1);
  const std::string manifest = test::read_file(path + "/manifest.json");
  int noticed = 0;
  for (size_t i = 0; i < manifest.size(); ++i) {
    flip_bit(path + "/manifest.json", i);
    try {
      verify_checkpoint(path);
    } catch (const InputError&) {
      ++noticed;
    }
    test::write_file(path + "/manifest.json", manifest);
  }
  // White space between tokens is all that may change in peace.
  const auto blanks =
      std::count_if(manifest.begin(), manifest.end(), [](char c) { return c == ' ' || c == '\n'; });
  EXPECT_GE(noticed, static_cast<int>(manifest.size()) - blanks);
}

TEST(CheckpointDir, OtherThingsInTheDirectoryAreIgnored) {
  const ScratchDir dir;
  write_checkpoint(dir.path(), 5);
  test::write_file(dir / "step-00000009", "a file");
  fs::create_directory(dir / "step-10");
  fs::create_directory(dir / "step-0000000x");
  fs::create_directory(dir / "step-99999999999999999999");
  EXPECT_EQ(find(dir.path()).checkpoint->step, 5);
  EXPECT_TRUE(find(dir.path()).warnings.empty());
}

// A child process is killed at a place of its work; the parent then looks at what is left.
void killed_while(const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    work();
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST(CheckpointDir, AKilledWriterLeavesTheEarlierCheckpointAndItsRestIsRemoved) {
  const ScratchDir dir;
  const std::string good = write_checkpoint(dir.path(), 100);
  killed_while([&] {
    CheckpointWriter writer(dir.path(), 200);
    fill(writer.path(), "half of the wei");
    kill(getpid(), SIGKILL);
  });
  EXPECT_EQ(test::entries_in(dir.path()), 3);  // the checkpoint, latest, the rest
  const Found f = find(dir.path());
  EXPECT_EQ(f.checkpoint->dir, good);
  EXPECT_TRUE(f.warnings.empty());
  EXPECT_EQ(test::entries_in(dir.path()), 2);
}

TEST(CheckpointDir, AKillBeforeLatestIsReplacedLosesNothing) {
  const ScratchDir dir;
  write_checkpoint(dir.path(), 100);
  write_checkpoint(dir.path(), 200);
  test::write_file(dir / "latest", "step-00000100\n");
  test::write_file(dir / "latest.tmp", "step-0000");
  EXPECT_EQ(find(dir.path()).checkpoint->step, 200);
}

TEST(CheckpointDir, SaysWhatIsMissing) {
  const ScratchDir dir;
  const std::string root = dir / "checkpoints";
  EXPECT_EQ(missing_checkpoint(root), "");  // never any
  write_checkpoint(root, 100);
  write_checkpoint(root, 200);
  EXPECT_EQ(missing_checkpoint(root), "");
  fs::rename(root + "/step-00000200", dir / "aside");
  std::string missing = missing_checkpoint(root);
  EXPECT_TRUE(mentions(missing, "latest names step-00000200, which is not there")) << missing;
  EXPECT_TRUE(mentions(missing, "echo step-00000100 > " + root + "/latest")) << missing;
  EXPECT_TRUE(mentions(message_of<InputError>([&] { resolve_model_dir(dir.path()); }), "step-00000200"));
  fs::create_directory_symlink(dir / "aside", root + "/step-00000200");
  EXPECT_EQ(missing_checkpoint(root), "");
  fs::rename(dir / "aside", dir / "unmounted");
  EXPECT_TRUE(mentions(missing_checkpoint(root), "step-00000200, which is not there"));
  fs::remove_all(root + "/step-00000100");
  missing = missing_checkpoint(root);
  EXPECT_TRUE(mentions(missing, "step-00000200, which is not there")) << missing;
  EXPECT_FALSE(mentions(missing, "echo")) << missing;
  test::write_file(root + "/latest", "garbage");
  EXPECT_TRUE(mentions(missing_checkpoint(root), "garbage"));
  fs::remove(root + "/latest");
  fs::create_symlink("gone", root + "/latest");
  EXPECT_TRUE(mentions(missing_checkpoint(root), "latest is a link to gone, which is not there"));
  fs::create_directory_symlink("unmounted-disk", dir / "linked");
  EXPECT_TRUE(
      mentions(missing_checkpoint(dir / "linked"), "is a link to unmounted-disk, which is not there"));
}

TEST(CheckpointDir, ADamagedLatestIsWarnedOfAndNotNeeded) {
  const ScratchDir dir;
  const std::string good = write_checkpoint(dir.path(), 100);
  test::write_file(dir / "latest", "");
  EXPECT_EQ(missing_checkpoint(dir.path()), "");
  const Found f = find(dir.path());
  EXPECT_EQ(f.checkpoint->dir, good);
  ASSERT_EQ(f.warnings.size(), 1u);
  EXPECT_TRUE(mentions(f.warnings[0], "latest")) << f.warnings[0];
}

// A checkpoint is replaced by one of the same step where the run went back: a kill in between loses nothing.
TEST(CheckpointDir, AKillWhileTheLatestIsReplacedIsNoLoss) {
  const ScratchDir dir;
  const std::string good = write_checkpoint(dir.path(), 100);
  write_checkpoint(dir.path(), 200);
  fs::rename(dir / "step-00000200", dir / ".tmp-removed-step-00000200");
  for (int start = 0; start < 2; ++start) {  // the first one removes what the killed writer left
    EXPECT_EQ(missing_checkpoint(dir.path()), "");
    EXPECT_EQ(find(dir.path()).checkpoint->dir, good);
  }
}

TEST(CheckpointDir, FindsTheNewestWhoseTextsAreWhole) {
  const ScratchDir dir;
  EXPECT_FALSE(newest_with_texts(dir / "none").has_value());
  const std::string first = write_checkpoint(dir.path(), 100), second = write_checkpoint(dir.path(), 200);
  flip_bit(second + "/model.safetensors", 0);
  EXPECT_EQ(newest_with_texts(dir.path())->dir, second);
  flip_bit(second + "/config.json", 0);
  EXPECT_EQ(newest_with_texts(dir.path())->dir, first);
}

TEST(CheckpointDir, PruneKeepsTheNewestAndTheLatest) {
  const ScratchDir dir;
  for (int64_t step = 1; step <= 5; ++step) write_checkpoint(dir.path(), step);
  test::write_file(dir / "latest", "step-00000002\n");
  prune_checkpoints(dir.path(), 2);
  EXPECT_EQ(test::entries_in(dir.path()), 4);
  for (const char* kept : {"step-00000002", "step-00000004", "step-00000005"}) verify_checkpoint(dir / kept);
}

TEST(CheckpointDir, ResolvesWhatAUserCallsAModel) {
  const ScratchDir dir;
  const std::string root = dir / "run/checkpoints";
  const std::string step = write_checkpoint(root, 100);
  EXPECT_EQ(resolve_model_dir(dir / "run"), step);
  EXPECT_EQ(resolve_model_dir(root), step);
  EXPECT_EQ(resolve_model_dir(step), step);
  flip_bit(step + "/trainer/optimizer.safetensors", 0);  // does not concern a model's user
  EXPECT_EQ(resolve_model_dir(dir / "run"), step);
  flip_bit(step + "/model.safetensors", 0);
  const std::string damaged = message_of<InputError>([&] { resolve_model_dir(dir / "run"); });
  EXPECT_TRUE(mentions(damaged, "model.safetensors"));
  EXPECT_TRUE(mentions(damaged, "earlier checkpoint"));
}

TEST(CheckpointDir, RefusesWhatIsNoModel) {
  const ScratchDir dir;
  EXPECT_TRUE(mentions(message_of<InputError>([&] { resolve_model_dir(dir / "none"); }), "no such file"));
  EXPECT_TRUE(mentions(message_of<InputError>([&] { resolve_model_dir(dir.path()); }), "no model"));
  test::write_file(dir / "file", "x");
  EXPECT_TRUE(mentions(message_of<InputError>([&] { resolve_model_dir(dir / "file"); }), "not a directory"));
  for (const char* name : {"", "\n", "../../etc", "step-1", "step-00000001/..", "step-00000009"}) {
    test::write_file(dir / "latest", name);
    EXPECT_THROW(resolve_model_dir(dir.path()), InputError) << name;
  }
}

TEST(CheckpointDir, AnUnwritableRootIsNamed) {
  const ScratchDir dir;
  test::write_file(dir / "file", "x");
  EXPECT_TRUE(mentions(message_of<RunError>([&] { CheckpointWriter(dir / "file", 1); }), dir / "file"));
}

}  // namespace
}  // namespace natrix
