// Which signals end a run, and what happens if a standard stream is closed, full or has no reader.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "distributed/mpi_communicator.h"
#include "tests/launch/spoil.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

/// A line of sh, with $N for the program.
Outcome shell(const std::string& line, const ProgramOptions& options = {}) {
  return any_program({"env", "N=" NATRIX_PROGRAM, "bash", "-c", line}, options);
}

/// The status of the first command of a pipe.
Outcome first_of_pipe(const std::string& line) {
  return shell(line + "; echo status ${PIPESTATUS[0]} >&2");
}

/// Sends a signal, once, when the run has logged a few steps.
ProgramOptions at_third_step(int signal, const std::string& run) {
  return {.signal_when = [signal, run, sent = false]() mutable {
    if (sent || lines_logged(run) < 3) return 0;
    sent = true;
    return signal;
  }};
}

std::string train_words(const TinyRun& tiny, const std::string& name) {
  return fmt::format("$N train {} run.dir={} checkpoint.every=0 ", tiny.config(), tiny / name);
}

TEST(Hangup, SavesAndStopsAndTheRunGoesOn) {
  const TinyRun tiny;
  const Outcome stopped = tiny.train("run", {"train.steps=100000"}, at_third_step(SIGHUP, tiny / "run"));
  EXPECT_EQ(stopped.status, 75) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr(std::string("stopped by ") + strsignal(SIGHUP)));
  const int64_t saved = newest_checkpoint(tiny / "run");
  EXPECT_GE(saved, 3);
  const Outcome on = tiny.train("run", {fmt::format("train.steps={}", saved + 2)});
  EXPECT_EQ(on.status, 0) << on.err;
  EXPECT_THAT(on.err, HasSubstr(fmt::format("going on after step {}/", saved)));
}

TEST(Hangup, OfOneRankStopsAll) {
  if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  const TinyRun tiny;
  const std::string run = tiny / "run";
  std::vector<std::string> words = mpirun_words(2);
  words.insert(words.end(), {"train", tiny.config(), "run.dir=" + run, "train.steps=100000",
                             "checkpoint.every=0", "device.threads=1"});
  const auto hang_up_on_second = [&, sent = false]() mutable {
    if (sent || lines_logged(run) < 3) return 0;
    sent = true;
    kill(processes_of(run, 2)[1], SIGHUP);
    return 0;
  };
  const Outcome r = any_program(words, {.signal_when = hang_up_on_second});
  EXPECT_EQ(r.status, 75) << r.err;
  EXPECT_THAT(r.err, HasSubstr(std::string("stopped by ") + strsignal(SIGHUP)));
  EXPECT_GE(newest_checkpoint(run), 3);
}

TEST(Hangup, StaysIgnoredWhereItWas) {
  const TinyRun tiny;
  const Outcome r =
      shell("trap '' HUP; exec " + train_words(tiny, "run"), at_third_step(SIGHUP, tiny / "run"));
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(last_step_logged(tiny / "run"), 40);
  EXPECT_THAT(r.err, Not(HasSubstr("stopped by")));
  const Outcome terminated = shell("trap '' HUP; exec " + train_words(tiny, "other") + "train.steps=100000",
                                   at_third_step(SIGTERM, tiny / "other"));
  EXPECT_EQ(terminated.status, 75) << terminated.err;
}

// Open MPI may load UCX, whose constructor installs a handler for SIGHUP before main.
TEST(Hangup, StaysIgnoredThoughALibraryInstallsAHandler) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer wants to be the first library";
#endif
  const TinyRun tiny;
  const std::string preload = "LD_PRELOAD=" NATRIX_TAKES_HANGUP " ";
  const Outcome ignored = shell("trap '' HUP; " + preload + "exec " + train_words(tiny, "ignored"),
                                at_third_step(SIGHUP, tiny / "ignored"));
  EXPECT_EQ(ignored.status, 0) << ignored.err;
  EXPECT_EQ(last_step_logged(tiny / "ignored"), 40);
  EXPECT_THAT(ignored.err, Not(HasSubstr("stopped by")));
  const Outcome stopped = shell(preload + "exec " + train_words(tiny, "stopped") + "train.steps=100000",
                                at_third_step(SIGHUP, tiny / "stopped"));
  EXPECT_EQ(stopped.status, 75) << stopped.err;
}

struct Streams {
  const char* name;
  const char* redirection;
};

std::ostream& operator<<(std::ostream& out, const Streams& s) {
  return out << s.redirection;
}

class TrainingWithout : public ::testing::TestWithParam<Streams> {};

TEST_P(TrainingWithout, ItsStreamsGoesOnToTheEnd) {
  const TinyRun tiny;
  const Outcome whole = tiny.train("whole", {"checkpoint.every=0"});
  ASSERT_EQ(whole.status, 0) << whole.err;
  const Outcome r = first_of_pipe(train_words(tiny, "run") + GetParam().redirection);
  EXPECT_THAT(r.err, HasSubstr("status 0\n"));
  EXPECT_EQ(curve(tiny / "run"), curve(tiny / "whole"));
  EXPECT_EQ(weights(tiny / "run", 40), weights(tiny / "whole", 40)) << "something was written into it";
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\0'), 0);
  const auto lines_of_log = [&](const std::string& run) {
    const std::string text = read_file(tiny / run + "/natrix.log");
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(lines_of_log("run"), lines_of_log("whole")) << "those for stderr landed there, too";
  EXPECT_TRUE(fs::exists(tiny / "run/report.html"));
}

INSTANTIATE_TEST_SUITE_P(Streams, TrainingWithout,
                         ::testing::Values(Streams{"stderr", "2>&-"}, Streams{"stdout", ">&-"},
                                           Streams{"stdin", "<&-"}, Streams{"any", "<&- >&- 2>&-"},
                                           Streams{"room_for_stderr", "2>/dev/full"},
                                           Streams{"room_for_either", ">/dev/full 2>&1"},
                                           Streams{"a_reader", "2>&1 | head -n 1"},
                                           Streams{"any_reader", "2>&1 | true"}),
                         [](const auto& info) { return info.param.name; });

TEST(RunLogFile, OnAFullDiskEndsNoRun) {
  const TinyRun tiny;
  fs::create_directories(tiny / "run");
  fs::create_symlink("/dev/full", tiny / "run/natrix.log");
  const Outcome r = tiny.train("run", {"log.every=1"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(last_step_logged(tiny / "run"), 40);
  EXPECT_THAT(r.err, HasSubstr("step 40/40"));
  EXPECT_THAT(r.err, Not(HasSubstr("LOG ERROR")));
}

TEST(ClosedPipe, EndsAContinuationAtOnceWithoutAWord) {
  const std::string generate = "$N generate " + trained_run() + " -p the --ignore-eos -n 1000000000 ";
  const ScratchDir scratch;
  const Outcome r = first_of_pipe(generate + "--state-out " + scratch / "s" + " | head -c 10");
  EXPECT_EQ(r.out.size(), 10u);
  EXPECT_EQ(r.err, "status 1\n");
  EXPECT_FALSE(fs::exists(scratch / "s"));
}

TEST(ClosedPipe, IsNoSuccessForAnyResult) {
  const std::string commands[] = {
      "$N generate " + trained_run() + " -p the -n 3 --json",
      "$N inspect " + trained_run(),
      "$N inspect " + good_files() + "/train.yaml --tensors",
      "$N train " + good_files() + "/train.yaml --print-config",
      "$N --help",
  };
  for (const std::string& command : commands) {
    const Outcome unread = first_of_pipe("(sleep 0.1; exec " + command + ") | true");
    EXPECT_EQ(unread.err, "status 1\n") << command;
    for (const char* nowhere : {" >&-", " >/dev/full"}) {
      const Outcome r = shell(command + nowhere);
      EXPECT_EQ(r.status, 1) << command << nowhere;
      EXPECT_EQ(r.err, "natrix: standard output cannot be written; is it closed, or its disk full?\n")
          << command << nowhere;
    }
    EXPECT_EQ(shell(command + " >&- 2>&-").status, 1) << command;
  }
}

TEST(ClosedPipe, AnErrorKeepsItsStatusWhereItCannotBeSaid) {
  for (const char* nowhere : {" 2>&-", " 2>/dev/full", " >&- 2>&-", " >/dev/full 2>&1"}) {
    EXPECT_EQ(shell(std::string("$N inspect /gone") + nowhere).status, 2) << nowhere;
    EXPECT_EQ(shell(std::string("$N inspekt") + nowhere).status, 2) << nowhere;
  }
}

TEST(ClosedStdin, IsNoEmptyPrompt) {
  const Outcome r = shell("$N generate " + trained_run() + " -f - -n 3 <&-");
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT(r.err, HasSubstr("--prompt-file -: reading failed"));
  EXPECT_EQ(r.out, "");
}

}  // namespace
}  // namespace natrix::test
