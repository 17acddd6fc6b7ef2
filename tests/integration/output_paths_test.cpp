// Output paths of commands: only plain files are replaced, and a path that cannot be written is refused
// before the work begins. Tests make their own device nodes and never use the system's.
#include <csignal>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/launch/spoil.h"
#include "tests/launch/tiny_run.h"
#include "tests/pipe_reader.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

struct Writer {
  std::string name, flag;
  Words command;  // "@" stands for the directory with the good files; the flag and its path come last
};

std::ostream& operator<<(std::ostream& out, const Writer& w) {
  return out << w.name;
}

const Writer kWriters[] = {
    {"score", "--out", {"score", "@/model", "--tokens", "@/tokens.safetensors", "-q", "--out"}},
    {"gradients", "--out", {"gradients", "@/model", "--tokens", "@/tokens.safetensors", "-q", "--out"}},
    {"generate",
     "--out",
     {"generate", "@/model", "--tokens", "@/tokens.safetensors", "-n", "3", "-q", "--out"}},
    {"state", "--state-out", {"generate", "@/model", "-p", "x", "-n", "1", "-q", "--state-out"}},
    {"plot", "--out", {"plot", "@/run", "-q", "--out"}},
};

class OutputPaths : public ::testing::TestWithParam<Writer> {
 protected:
  void SetUp() override {
    fs::copy(good_files(), scratch_.path(), fs::copy_options::recursive);
    scratch_.write("run/metrics.jsonl", "{\"step\":1,\"loss\":1.0}\n");
    fs::create_directory(here("out"));
  }
  std::string here(const std::string& name) const { return scratch_ / name; }

  /// Of the command with its output under `path`.
  Outcome write_to(const std::string& path, const Writer& writer = GetParam(), const Words& also = {}) const {
    Words words = writer.command;
    words.push_back(path);
    words.insert(words.end(), also.begin(), also.end());
    for (std::string& word : words) {
      if (word.starts_with("@/")) word.replace(0, 1, scratch_.path());
    }
    return natrix_program(words);
  }
  /// What the command writes into a plain file.
  std::string plain() const {
    EXPECT_EQ(write_to(here("plain")).status, 0);
    return read_file(here("plain"));
  }

  ScratchDir scratch_;
};

TEST_P(OutputPaths, ALinkStaysAndItsTargetIsReplaced) {
  const std::string expected = plain();
  write_file(here("out/old"), "old");
  chmod(here("out/old").c_str(), 0600);
  fs::create_symlink("out/old", here("link"));
  fs::create_symlink("out/new", here("to_new"));
  for (const auto& [link, target] : {std::pair("link", "out/old"), std::pair("to_new", "out/new")}) {
    const Outcome outcome = write_to(here(link));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(fs::is_symlink(here(link)));
    EXPECT_EQ(read_file(here(target)), expected);
  }
  EXPECT_EQ(fs::status(here("out/old")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(std::distance(fs::directory_iterator(here("out")), {}), 2);
}

TEST_P(OutputPaths, ADeviceStays) {
  if (mknod(here("null").c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0)
    GTEST_SKIP() << "only root makes devices";
  if (access(here("null").c_str(), W_OK) != 0) GTEST_SKIP() << "this disk has no devices";
  fs::create_symlink("null", here("link"));
  for (const char* name : {"null", "link"}) {
    const Outcome outcome = write_to(here(name));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
  }
  EXPECT_TRUE(fs::is_character_file(fs::symlink_status(here("null"))));
  EXPECT_TRUE(fs::is_symlink(here("link")));
}

TEST_P(OutputPaths, APipesReaderGetsTheWholeFile) {
  const std::string expected = plain();
  ASSERT_EQ(mkfifo(here("pipe").c_str(), 0600), 0);
  PipeReader reader(here("pipe"));
  const Outcome outcome = write_to(here("pipe"));
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(reader.text(), expected);
  EXPECT_TRUE(fs::is_fifo(here("pipe")));
}

TEST_P(OutputPaths, StandardOutputIsWrittenIntoBeforeTheResult) {
  const std::string expected = plain();
  fs::create_symlink("/proc/self/fd/1", here("stdout"));  // as /dev/stdout is, which a fault would replace
  const Outcome outcome = write_to(here("stdout"));
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(fs::is_symlink(here("stdout")));
  EXPECT_THAT(outcome.out, HasSubstr(expected));
}

TEST_P(OutputPaths, WhatCannotBeWrittenIsSaidBeforeTheWork) {
  fs::remove_all(here("model"));  // the output is looked at before the model is
  const ScratchDir elsewhere;     // a snapshot would follow it
  fs::create_symlink("loop", elsewhere / "loop");
  fs::create_symlink("gone/new", here("to_gone"));
  fs::create_symlink("out", here("to_directory"));
  const std::pair<std::string, Words> cases[] = {
      {here("out"), {"it is a directory", "name a file in it"}},
      {here("to_directory"), {"it is a directory"}},
      {here("gone/new"), {"No such file or directory", "make that directory first"}},
      {here("to_gone"), {"it is a link to", "make that directory first"}},
      {here("text.txt/new"), {"text.txt is not a directory"}},
      {elsewhere / "loop", {"a loop of symbolic links"}},
      {here(std::string(256, 'n')), {"File name too long"}},
  };
  const auto before = snapshot(scratch_.path());
  for (const auto& [path, parts] : cases) {
    const Outcome outcome = write_to(path);
    EXPECT_EQ(outcome.status, 2) << path;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr("natrix: " + GetParam().flag + ": cannot write " + path));
    for (const std::string& part : parts) EXPECT_THAT(outcome.err, HasSubstr(part));
  }
  const Outcome empty = write_to("");
  EXPECT_EQ(empty.status, 2);
  EXPECT_THAT(empty.err, HasSubstr("the path is empty"));
  EXPECT_EQ(snapshot(scratch_.path()), before);
}

TEST_P(OutputPaths, AFailureAfterTheCheckLeavesNothing) {
  fs::remove_all(here("model"));
  write_file(here("run/metrics.jsonl"), "{}\n");
  write_file(here("out/old"), "old");
  const auto before = snapshot(scratch_.path());
  for (const char* name : {"out/old", "out/new"}) EXPECT_EQ(write_to(here(name)).status, 2);
  EXPECT_EQ(snapshot(scratch_.path()), before);
}

INSTANTIATE_TEST_SUITE_P(Command, OutputPaths, ::testing::ValuesIn(kWriters),
                         [](const auto& info) { return info.param.name; });

class OutputsAndInputs : public OutputPaths {};

TEST_F(OutputsAndInputs, AStateMayGoOnInItsOwnFile) {
  const Words words = {"generate", here("model"), "-n", "4", "-q", "--temp", "0"};
  const auto run = [&](const std::string& in, const std::string& out) {
    Words all = words;
    all.insert(all.end(), {"--state-in", in, "--state-out", out});
    const Outcome outcome = natrix_program(all);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.out;
  };
  fs::copy(here("prefix.state"), here("own.state"));
  const std::string a = run(here("prefix.state"), here("other.state"));
  EXPECT_EQ(run(here("own.state"), here("own.state")), a);
  EXPECT_EQ(read_file(here("own.state")), read_file(here("other.state")));
}

TEST_F(OutputsAndInputs, AnOutputMayReplaceItsInputs) {
  for (const Writer& w : {kWriters[0], kWriters[1], kWriters[2]}) {
    ASSERT_EQ(write_to(here("plain"), w).status, 0);
    const std::string input = read_file(here("tokens.safetensors"));
    const Outcome outcome = write_to(here("tokens.safetensors"), w);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(read_file(here("tokens.safetensors")), read_file(here("plain")));
    write_file(here("tokens.safetensors"), input);
    const std::string weights = read_file(here("model/model.safetensors"));
    EXPECT_EQ(write_to(here("model/model.safetensors"), w).status, 0);
    EXPECT_EQ(read_file(here("model/model.safetensors")), read_file(here("plain")));
    write_file(here("model/model.safetensors"), weights);
  }
}

TEST_F(OutputsAndInputs, TwoOutputsAreTwoFiles) {
  fs::create_symlink("same", here("link"));
  for (const char* other : {"same", "link", "out/../same"}) {
    const Outcome outcome = write_to(here("same"), kWriters[2], {"--state-out", here(other)});
    EXPECT_EQ(outcome.status, 2);
    EXPECT_THAT(outcome.err, HasSubstr("the same file; give them two"));
    EXPECT_FALSE(fs::exists(here("same")));
  }
}

TEST_F(OutputsAndInputs, AReaderThatGoesAwayIsAnError) {
  tokens("I64", {1, 400})(scratch_.path());  // more scores than a pipe holds
  ASSERT_EQ(mkfifo(here("pipe").c_str(), 0600), 0);
  PipeReader reader(here("pipe"), 1);
  const Outcome outcome = write_to(here("pipe"), kWriters[0]);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("natrix: cannot write " + here("pipe")));
  EXPECT_THAT(outcome.err, HasSubstr("its reader has gone away"));
}

TEST_F(OutputsAndInputs, SlowAPipeThatNobodyReadsIsRefused) {
  fs::remove_all(here("model"));
  ASSERT_EQ(mkfifo(here("pipe").c_str(), 0600), 0);
  const Outcome outcome = write_to(here("pipe"), kWriters[0]);
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("pipe is a pipe that nobody reads; waiting"));
  EXPECT_THAT(outcome.err, HasSubstr("nobody reads this pipe; start its reader first"));
  EXPECT_TRUE(fs::is_fifo(here("pipe")));
}

TEST_F(OutputsAndInputs, AKilledCommandLeavesNothing) {
  write_file(here("out/old"), "old");
  bool wrote = false;
  ProgramOptions options;
  options.signal_when = [&] {  // when it generates
    wrote = wrote || std::distance(fs::directory_iterator(here("out")), {}) != 1;
    return read_file_if_any(here("text")).empty() ? 0 : SIGKILL;
  };
  const std::string script = "exec " + std::string(NATRIX_PROGRAM) + " generate " + here("model") +
                             " -p x -n 100000000 --ignore-eos -q --state-out " + here("out/old") + " >" +
                             here("text");
  EXPECT_EQ(any_program({"bash", "-c", script}, options).status, 128 + SIGKILL);
  EXPECT_FALSE(wrote);
  EXPECT_EQ(read_file(here("out/old")), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(here("out")), {}), 1);
}

TEST_F(OutputsAndInputs, ProcessSubstitutionIsWrittenInto) {
  const std::string script = std::string(NATRIX_PROGRAM) + " score " + here("model") + " --tokens " +
                             here("tokens.safetensors") + " -q --out >(cat >" + here("copy") + "; echo >" +
                             here("done") + ") >/dev/null; for i in {1..500}; do [ -e " + here("done") +
                             " ] && break; sleep 0.01; done";
  const Outcome outcome = any_program({"bash", "-c", script});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  ASSERT_EQ(write_to(here("plain"), kWriters[0]).status, 0);
  EXPECT_EQ(read_file(here("copy")), read_file(here("plain")));
}

TEST_F(OutputsAndInputs, ShardsGoWhereALinkLeads) {
  fs::create_directory_symlink("out", here("link"));
  const auto shards = [&](const std::string& out) {
    return natrix_program({"data", here("text.txt"), "-q", "--out", out});
  };
  EXPECT_EQ(shards(here("link")).status, 0);
  EXPECT_TRUE(fs::is_symlink(here("link")));
  EXPECT_TRUE(fs::exists(here("out/index.json")));
  write_file(here("empty"), "");
  ASSERT_EQ(mkfifo(here("pipe").c_str(), 0600), 0);
  fs::create_symlink("gone/new", here("to_gone"));
  const auto before = snapshot(scratch_.path());
  for (const char* name : {"empty", "pipe", "to_gone", "link", "text.txt/below"}) {
    const Outcome outcome = shards(here(name));
    EXPECT_EQ(outcome.status, 2) << name;
    EXPECT_THAT(outcome.err, HasSubstr(here(name)));
  }
  EXPECT_EQ(snapshot(scratch_.path()), before);
}

TEST_F(OutputsAndInputs, ARunDirectoryThatCannotBeWrittenIsSaidBeforeTheModelIsMade) {
  const auto train = [&](const std::string& dir) {  // a model that no memory holds
    return natrix_program({"train", here("train.yaml"), "run.dir=" + dir, "model.d_model=4000000"});
  };
  write_file(here("blocked/checkpoints"), "a file");
  fs::create_symlink("gone/new", here("to_gone"));
  const auto before = snapshot(scratch_.path());
  for (const char* name : {"text.txt", "text.txt/run", "to_gone", "blocked"}) {
    const Outcome outcome = train(here(name));
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("run.dir " + here(name)));
  }
  EXPECT_EQ(snapshot(scratch_.path()), before);
}

}  // namespace
}  // namespace natrix::test
