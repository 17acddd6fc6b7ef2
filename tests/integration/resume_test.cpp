// Resuming runs after a signal, after kill -9 and after damage; cases in which resuming is refused.
#include <csignal>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files/directory_lock.h"
#include "core/files/random.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// Both runs ended with this step, and nothing tells them apart.
void expect_same_run(const std::string& a, const std::string& b, int64_t last_step) {
  EXPECT_EQ(curve(a), curve(b));
  EXPECT_EQ(static_cast<int64_t>(curve(a).size()), last_step);
  EXPECT_FALSE(weights(a, last_step).empty());
  EXPECT_EQ(weights(a, last_step), weights(b, last_step));
}

/// Sends a signal once the run has logged so many lines more than it has now.
ProgramOptions signal_after(int64_t more, int signal, const std::string& run) {
  return {.signal_when = [lines = lines_logged(run) + more, signal, run, sent = false]() mutable {
    if (sent || lines_logged(run) < lines) return 0;
    sent = true;
    return signal;
  }};
}

struct Variant {
  std::string name;
  std::vector<std::string> overrides;
};

std::ostream& operator<<(std::ostream& out, const Variant& v) {
  return out << v.name;
}

// What a checkpoint must hold beside weights and moments differs between these.
const Variant kVariants[] = {
    {"plain", {}},
    {"carried", {"sequence.carry_state=true", "data.order=sequential", "train.micro_batch_size=1"}},
    {"truncated_and_carried",
     {"sequence.gradient=truncated", "sequence.carry_state=true", "data.order=sequential"}},
    {"selection_bias", {"model.moe.router=sigmoid", "model.moe.bias_update_rate=0.01"}},
    {"reference_backend", {"device.backend=reference"}},
};

class Resume : public ::testing::TestWithParam<Variant> {};

TEST_P(Resume, StoppedBySignalsEqualsNeverStopped) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("whole", GetParam().overrides).status, 0);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    const Outcome stopped =
        tiny.train("parts", GetParam().overrides, signal_after(5, signal, tiny / "parts"));
    ASSERT_EQ(stopped.status, 75) << stopped.err;
    EXPECT_THAT(stopped.err, HasSubstr("stopped by " + std::string(strsignal(signal))));
    EXPECT_THAT(stopped.err, HasSubstr("start the same command again"));
    EXPECT_EQ(stopped.out, "");
  }
  const Outcome last = tiny.train("parts", GetParam().overrides);
  EXPECT_EQ(last.status, 0);
  EXPECT_THAT(last.err, HasSubstr("going on after step"));
  EXPECT_THAT(last.err, Not(HasSubstr("warning")));
  expect_same_run(tiny / "whole", tiny / "parts", 40);
}

INSTANTIATE_TEST_SUITE_P(Runs, Resume, ::testing::ValuesIn(kVariants),
                         [](const auto& info) { return info.param.name; });

TEST(Kill9, AtTenRandomMomentsChangesNothing) {
  const TinyRun tiny;
  const std::vector<std::string> overrides = {"train.steps=240",     "checkpoint.every=2",
                                              "checkpoint.keep=2",   "data.eval=[" + tiny / "text.txt" + "]",
                                              "train.eval_every=50", "train.eval_tokens=500"};
  ASSERT_EQ(tiny.train("whole", overrides).status, 0);

  const auto seed = static_cast<uint64_t>(getpid());
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  SplitMix64 random(seed);
  int kills = 0;
  for (int64_t k = 0; k < 10; ++k) {
    // Somewhere within the k-th tenth of the run, and some milliseconds later: within a step, an evaluation,
    // the writing of a checkpoint or the removal of an old one.
    const auto lines = static_cast<int64_t>((static_cast<double>(k) + random.uniform()) * 230 / 10);
    uint64_t patience = random.next() % 8;
    const Outcome killed = tiny.train("parts", overrides, {.signal_when = [&] {
                                        if (lines_logged(tiny / "parts") < lines) return 0;
                                        return patience-- > 0 ? 0 : SIGKILL;
                                      }});
    EXPECT_THAT(killed.err, Not(HasSubstr("warning"))) << "the kill before this one damaged a checkpoint";
    if (killed.status == 0) break;  // steps of a quarter of a millisecond: it was done before anybody looked
    EXPECT_EQ(killed.status, 128 + SIGKILL) << killed.err;
    ++kills;
    if (const int64_t step = last_step_logged(tiny / "parts"); step > 2) {
      EXPECT_GE(newest_checkpoint(tiny / "parts"),
                step - 2);  // step - 1 was finished, with its checkpoint if one was due
    }
  }
  EXPECT_GE(kills, 5);
  const Outcome last = tiny.train("parts", overrides);
  EXPECT_EQ(last.status, 0) << last.err;
  EXPECT_EQ(curve(tiny / "whole"), curve(tiny / "parts"));
  EXPECT_EQ(weights(tiny / "whole", 240), weights(tiny / "parts", 240));
  EXPECT_THAT(checkpoints(tiny / "parts"), ElementsAre("latest", "step-00000238", "step-00000240"));
}

struct Damage {
  std::string name;
  std::function<void(const std::string& checkpoint)> inflict;
  std::string reason;  // that the warning must give
};

std::ostream& operator<<(std::ostream& out, const Damage& d) {
  return out << d.name;
}

void flip_a_bit(const std::string& path) {
  std::string bytes = read_file(path);
  bytes[bytes.size() / 2] ^= 1;
  write_file(path, bytes);
}

const Damage kDamages[] = {
    {"bit_of_the_weights", [](auto& c) { flip_a_bit(c + "/model.safetensors"); },
     "model.safetensors: is damaged: its checksum"},
    {"bit_of_the_moments", [](auto& c) { flip_a_bit(c + "/trainer/optimizer.safetensors"); },
     "optimizer.safetensors: is damaged"},
    {"truncated", [](auto& c) { fs::resize_file(c + "/trainer/optimizer.safetensors", 1000); },
     "has 1000 bytes, but the manifest says"},
    {"file_removed", [](auto& c) { fs::remove(c + "/trainer/state.json"); },
     "state.json: listed in the manifest, but No such file"},
    {"manifest_removed", [](auto& c) { fs::remove(c + "/manifest.json"); }, "manifest.json: No such file"},
    {"manifest_empty", [](auto& c) { write_file(c + "/manifest.json", ""); },
     "manifest.json: not valid JSON"},
    {"emptied",
     [](auto& c) {
       fs::remove_all(c);
       fs::create_directory(c);
     },
     "manifest.json: No such file"},
};

class Damaged : public ::testing::TestWithParam<Damage> {};

TEST_P(Damaged, NewestCheckpointFallsBackToTheOneBefore) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("whole").status, 0);
  fs::copy(tiny / "whole", tiny / "damaged", fs::copy_options::recursive);
  GetParam().inflict(tiny / "damaged/checkpoints/step-00000040");
  const Outcome again = tiny.train("damaged");
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("warning: checkpoint " + tiny / "damaged/checkpoints/step-00000040"));
  EXPECT_THAT(again.err, HasSubstr(GetParam().reason));
  EXPECT_THAT(again.err, HasSubstr("going on after step 30/40"));
  expect_same_run(tiny / "whole", tiny / "damaged", 40);
}

TEST_P(Damaged, WhereAllAreTheRunIsRefusedAndNothingIsTouched) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  for (const std::string& name : checkpoints(tiny / "run")) {
    if (name.starts_with("step-")) GetParam().inflict(tiny / "run/checkpoints/" + name);
  }
  fs::remove(tiny / "run/natrix.log");  // the one file that may grow: it keeps the warnings
  const auto before = snapshot(tiny / "run");
  const Outcome refused = tiny.train("run");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("every checkpoint is damaged"));
  EXPECT_THAT(refused.err, HasSubstr("choose another run.dir"));
  fs::remove(tiny / "run/natrix.log");
  EXPECT_EQ(snapshot(tiny / "run"), before);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Damaged, ::testing::ValuesIn(kDamages),
                         [](const auto& info) { return info.param.name; });

TEST(Threads, TheirNumberDoesNotShow) {
  const TinyRun tiny;
  for (const std::string threads : {"1", "2", "5"}) {
    ASSERT_EQ(tiny.train(threads, {"device.threads=" + threads}).status, 0);
    expect_same_run(tiny / "1", tiny / threads, 40);
  }
}

TEST(RunDirectory, KeepsTheNewestCheckpoints) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run", {"checkpoint.keep=2", "checkpoint.every=7"}).status, 0);
  EXPECT_THAT(checkpoints(tiny / "run"), ElementsAre("latest", "step-00000035", "step-00000040"));
  EXPECT_EQ(read_file(tiny / "run/checkpoints/latest"), "step-00000040\n");
}

TEST(RunDirectory, ResumeNeverRefusesOneThatHoldsCheckpoints) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  const auto before = snapshot(tiny / "run");
  const Outcome refused = tiny.train("run", {"checkpoint.resume=never"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("checkpoint.resume is never, but there are checkpoints"));
  EXPECT_THAT(refused.err, HasSubstr("choose another run.dir, remove this one, or"));
  EXPECT_EQ(snapshot(tiny / "run"), before);
  EXPECT_EQ(tiny.train("other", {"checkpoint.resume=never"}).status, 0);
}

TEST(RunDirectory, ServesOneRunAtATime) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  const auto before = snapshot(tiny / "run");
  {
    const DirectoryLock other(tiny / "run", "run.dir");
    const Outcome refused = tiny.train("run", {"train.steps=50"});
    EXPECT_EQ(refused.status, 2);
    EXPECT_THAT(refused.err, HasSubstr("another natrix is writing there"));
    EXPECT_EQ(snapshot(tiny / "run"), before);
  }
  EXPECT_EQ(tiny.train("run", {"train.steps=50"}).status, 0);
}

TEST(RunDirectory, OfAnotherModelIsRefusedByTheKey) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  const auto before = snapshot(tiny / "run");
  const std::pair<const char*, const char*> cases[] = {
      {"model.d_model=24", "model.d_model: 24, was 16 (command line)"},
      {"model.moe.top_k=1", "model.moe.top_k: 1, was 2 (command line)"},
      {"model.norm_eps=1e-5", "model.norm_eps: 1e-05, was 1e-06"},  // no tensor's shape would tell
      {"model.vocab_size=300", "model.vocab_size: 300, was 257"},
  };
  for (const auto& [change, message] : cases) {
    const Outcome refused = tiny.train("run", {change});
    EXPECT_EQ(refused.status, 2) << change;
    EXPECT_THAT(refused.err, HasSubstr("its checkpoints are of another model"));
    EXPECT_THAT(refused.err, HasSubstr(message));
  }
  EXPECT_EQ(snapshot(tiny / "run"), before);
}

TEST(RunDirectory, OtherChangesAreAllowedAndNoted) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  const Outcome longer = tiny.train("run", {"train.steps=50", "optimizer.lr=0.02", "model.vocab_size=257"});
  EXPECT_EQ(longer.status, 0) << longer.err;
  EXPECT_THAT(longer.err, HasSubstr("changed since the run began: train.steps: 50, was 40"));
  EXPECT_THAT(longer.err, HasSubstr("changed since the run began: optimizer.lr: 0.02, was 0.01"));
  EXPECT_THAT(longer.err, HasSubstr("going on after step 40/50"));
  EXPECT_EQ(curve(tiny / "run").size(), 50u);
  const Outcome again = tiny.train("run", {"train.steps=50", "optimizer.lr=0.02"});
  EXPECT_THAT(again.err, Not(HasSubstr("changed since")));
}

// What a run wrote down is enough to run it again, whatever the YAML left open.
TEST(RunDirectory, ItsConfigTrainsTheSame) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("first").status, 0);
  ASSERT_EQ(tiny.train("tuned", {"model.init_from=" + tiny / "first"}).status, 0)
      << "the YAML's model keys repeat those of the checkpoint";
  for (const std::string run : {"first", "tuned"}) {
    const Outcome again =
        natrix_program({"train", tiny / run + "/config.yaml", "run.dir=" + tiny / run + "-again"});
    ASSERT_EQ(again.status, 0) << again.err;
    expect_same_run(tiny / run, tiny / run + "-again", 40);
  }
}

TEST(Disk, ThatFillsUpEndsTheRunAndItGoesOnWhenThereIsRoom) {
  const TinyRun tiny;
  const std::vector<std::string> overrides = {"train.steps=300", "checkpoint.every=100"};
  ASSERT_EQ(tiny.train("whole", overrides).status, 0);
  // Too little for a checkpoint, then enough for one but not for all the metrics.
  const std::pair<int64_t, const char*> disks[] = {{20'000, "model.safetensors"}, {85'000, "metrics.jsonl"}};
  for (const auto& [bytes, culprit] : disks) {
    const Outcome full = tiny.train("parts", overrides, {.most_file_bytes = bytes});
    EXPECT_EQ(full.status, 1) << full.err;
    EXPECT_THAT(full.err, ::testing::ContainsRegex("\nnatrix: cannot write [^\n]*" + std::string(culprit) +
                                                   ": File too large"));
    for (const std::string& file : snapshot(tiny / "parts"))
      EXPECT_THAT(file, Not(HasSubstr(".tmp"))) << "half-written";
  }
  EXPECT_EQ(newest_checkpoint(tiny / "parts"), 200);
  EXPECT_EQ(tiny.train("parts", overrides).status, 0);
  expect_same_run(tiny / "whole", tiny / "parts", 300);
}

TEST(Disk, ThatBecameReadOnlyEndsTheRun) {
  const TinyRun tiny;
  ASSERT_EQ(tiny.train("run").status, 0);
  const auto before = snapshot(tiny / "run");
  const Outcome refused = tiny.train("run", {"train.steps=50"}, {.read_only = tiny / "run"});
  if (refused.status == kNotPermitted) GTEST_SKIP() << "this machine lets nobody mount";
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, ::testing::MatchesRegex("natrix: [^\n]*" + tiny / "run" +
                                                   "[^\n]*Read-only file system[^\n]*\n"));
  EXPECT_EQ(snapshot(tiny / "run"), before);
}

TEST(NotFinite, StopsNamesTheCulpritAndKeepsTheLastGoodCheckpoint) {
  const TinyRun tiny;
  const Outcome stopped =
      tiny.train("run", {"optimizer.lr=1000", "optimizer.warmup_steps=0", "checkpoint.every=1"});
  EXPECT_EQ(stopped.status, 1) << stopped.err;
  EXPECT_THAT(stopped.err, ::testing::ContainsRegex("natrix: step [0-9]+: loss"));
  EXPECT_THAT(stopped.err, HasSubstr("the last good checkpoint is that of step"));
  EXPECT_EQ(natrix_program({"inspect", tiny / "run"}).status, 0);
}

}  // namespace
}  // namespace natrix::test
