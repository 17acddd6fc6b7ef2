// Training on a weighted mixture of files of several kinds: killed and resumed, and on several ranks.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "distributed/mpi_communicator.h"
#include "tests/core/compression.h"
#include "tests/kernels/cases.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

/// Text, compressed JSON lines, and tokens as llm.c stores them.
class MixedRun : public ::testing::Test {
 protected:
  MixedRun() {
    write_file(tiny_ / "a.txt", some_text(3000));
    std::string lines;
    for (uint64_t i = 0; i < 60; ++i)
      lines += nlohmann::json({{"content", some_text(40 + static_cast<int64_t>(i), i)}}).dump() + "\n";
    write_file(tiny_ / "b.jsonl.zst", zstd(lines));
    std::vector<int32_t> header(256, 0);
    const std::string text = some_text(1500, 3);
    header[0] = 20240520;
    header[1] = 1;
    header[2] = static_cast<int32_t>(text.size());
    const std::vector<uint16_t> tokens(text.begin(), text.end());
    write_file(tiny_ / "c.bin",
               std::string(reinterpret_cast<const char*>(header.data()), 4 * header.size()) +
                   std::string(reinterpret_cast<const char*>(tokens.data()), 2 * tokens.size()));
  }

  std::vector<std::string> settings(std::vector<std::string> more = {}) const {
    more.push_back(
        fmt::format("data.train=[{{path: {}, weight: 0.5}}, {{path: {}, weight: 0.3, key: content}}, "
                    "{{path: {}, weight: 0.2}}]",
                    tiny_ / "a.txt", tiny_ / "b.jsonl.zst", tiny_ / "c.bin"));
    more.push_back("data.cache=" + tiny_ / "cache");
    more.push_back("device.threads=1");
    return more;
  }
  std::vector<std::string> cached() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(tiny_ / "cache/tokens"))
      names.push_back(entry.path().filename().string());
    return names;
  }

  TinyRun tiny_;
};

TEST_F(MixedRun, KilledAndResumedReadsTheSameBatches) {
  const auto overrides = settings({"train.steps=200", "checkpoint.every=3"});
  const Outcome whole = tiny_.train("whole", overrides);
  ASSERT_EQ(whole.status, 0) << whole.err;
  EXPECT_THAT(whole.err, HasSubstr("50 % of rows from " + tiny_ / "a.txt"));
  EXPECT_THAT(whole.err, HasSubstr("30 % of rows from " + tiny_ / "b.jsonl.zst"));
  EXPECT_THAT(whole.err, HasSubstr("20 % of rows from " + tiny_ / "c.bin"));
  EXPECT_EQ(cached().size(), 1u);

  int kills = 0;
  for (const int64_t lines : {20, 90, 150}) {
    if (lines == 90) fs::remove_all(tiny_ / "cache");  // it is made again, the same
    const Outcome killed =
        tiny_.train("parts", overrides,
                    {.signal_when = [&] { return lines_logged(tiny_ / "parts") < lines ? 0 : SIGKILL; }});
    if (killed.status == 128 + SIGKILL) ++kills;
  }
  EXPECT_GE(kills, 2);
  const Outcome last = tiny_.train("parts", overrides);
  ASSERT_EQ(last.status, 0) << last.err;
  EXPECT_THAT(last.err, HasSubstr("going on after step"));
  EXPECT_THAT(last.err, Not(HasSubstr("changed since")));
  EXPECT_EQ(curve(tiny_ / "whole"), curve(tiny_ / "parts"));
  EXPECT_EQ(weights(tiny_ / "whole", 200), weights(tiny_ / "parts", 200));
}

TEST_F(MixedRun, GoesOnAfterASourceHasChangedAndSaysSo) {
  ASSERT_EQ(tiny_.train("run", settings()).status, 0);
  write_file(tiny_ / "a.txt", some_text(2800));
  const Outcome more = tiny_.train("run", settings({"train.steps=50"}));
  EXPECT_EQ(more.status, 0) << more.err;
  EXPECT_THAT(more.err, HasSubstr("data.train changed since the run began: a.txt is 2800 bytes, was 3000"));
}

TEST_F(MixedRun, AMovedRunIsToldItsWholeMixture) {
  write_file(tiny_ / "here/a.txt", some_text(3000));
  write_file(tiny_ / "here/b.jsonl", "{\"content\": \"" + std::string(500, 'b') + "\"}\n");
  const Outcome first = tiny_.train(
      "here/run", {"data.train=[{path: " + tiny_ / "here/a.txt" +
                       ", weight: 2}, {path: " + tiny_ / "here/b.jsonl" + ", weight: 1, key: content}]",
                   "data.cache=" + tiny_ / "cache"});
  ASSERT_EQ(first.status, 0) << first.err;
  fs::rename(tiny_ / "here", tiny_ / "there");
  const std::string run = tiny_ / "there/run", now = "data.train=[{path: " + tiny_ / "there/a.txt" +
                                                     ", weight: 2}, {path: " + tiny_ / "there/b.jsonl" +
                                                     ", weight: 1, key: content}]";
  const Outcome moved = natrix_program({"train", run, "train.steps=50"});
  EXPECT_EQ(moved.status, 2);
  EXPECT_THAT(moved.err, HasSubstr("'" + now + "'"));
  const Outcome again = natrix_program({"train", run, "train.steps=50", now});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("going on after step 40/50"));
}

TEST_F(MixedRun, OnFourRanksReadsTheSameTokens) {
  if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  const auto exact = settings({"device.backend=reference", "device.dtype=fp64", "train.batch_size=4",
                               "train.steps=12", "checkpoint.every=0"});
  ASSERT_EQ(tiny_.train("one", exact).status, 0);
  const auto made = cached();
  for (const std::string mesh : {"parallel.dp=4", "parallel.cp=4"}) {
    fs::remove_all(tiny_ / "cache");  // four processes want it at once
    std::vector<std::string> words = mpirun_words(4);
    words.insert(words.end(),
                 {"train", tiny_.config(), "run.dir=" + (tiny_ / mesh), mesh, "parallel.timeout=20s"});
    words.insert(words.end(), exact.begin(), exact.end());
    const Outcome four = any_program(words);
    ASSERT_EQ(four.status, 0) << four.err;
    EXPECT_EQ(cached(), made);
    EXPECT_EQ(four.err.find("50 % of rows"), four.err.rfind("50 % of rows")) << four.err;
    const auto a = curve(tiny_ / mesh), b = curve(tiny_ / "one");
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      const double x = nlohmann::json::parse(a[i])["loss"], y = nlohmann::json::parse(b[i])["loss"];
      EXPECT_NEAR(x, y, 1e-9) << mesh << " line " << i;
    }
  }
}

TEST_F(MixedRun, AMalformedSourceIsOneErrorOnEveryNumberOfRanks) {
  write_file(tiny_ / "b.jsonl.zst", zstd("{\"content\": \"a\"}\n{\"text\": \"b\"}\n"));
  const std::string message = tiny_ / "b.jsonl.zst:2: has no key \"content\"; its keys are \"text\"";
  const Outcome one = tiny_.train("run", settings());
  EXPECT_EQ(one.status, 2);
  EXPECT_THAT(one.err, HasSubstr(message));
  EXPECT_EQ(std::count(one.err.begin(), one.err.end(), '\n'), 1) << one.err;
  EXPECT_FALSE(fs::exists(tiny_ / "run"));
  EXPECT_FALSE(fs::exists(tiny_ / "cache"));
  if (!built_with_mpi()) return;
  std::vector<std::string> words = mpirun_words(4);
  words.insert(words.end(), {"train", tiny_.config(), "run.dir=" + (tiny_ / "run"), "train.batch_size=4"});
  for (const std::string& s : settings()) words.push_back(s);
  const Outcome four = any_program(words);
  EXPECT_EQ(four.status, 2);
  EXPECT_EQ(four.err.find(message), four.err.rfind(message)) << four.err;
  EXPECT_THAT(four.err, HasSubstr(message));
  EXPECT_FALSE(fs::exists(tiny_ / "run"));
  EXPECT_FALSE(fs::exists(tiny_ / "cache"));
}

TEST_F(MixedRun, AKilledConversionGoesOn) {
  std::string lines;
  for (int i = 0; i < 900'000; ++i) lines += "{\"content\": \"the light and the earth\"}\n";
  write_file(tiny_ / "big.jsonl", lines);
  const std::vector<std::string> words = {"data", tiny_ / "big.jsonl", "--key", "content", "--json"};
  setenv("NATRIX_CACHE", (tiny_ / "cache").c_str(), 1);
  const auto has_part = [&] {
    if (!fs::exists(tiny_ / "cache/tokens")) return false;
    for (const auto& entry : fs::directory_iterator(tiny_ / "cache/tokens")) {
      if (fs::exists(entry.path() / "parts.json")) return true;
    }
    return false;
  };
  const Outcome killed = natrix_program(words, {.signal_when = [&] { return has_part() ? SIGKILL : 0; }});
  EXPECT_EQ(killed.status, 128 + SIGKILL) << killed.err;
  ASSERT_EQ(cached().size(), 1u);
  const std::string partial = tiny_ / "cache/tokens/" + cached()[0], shard = partial + "/shard-00000.bin";
  EXPECT_TRUE(partial.ends_with(".partial"));
  const auto when = fs::last_write_time(shard);
  const Outcome done = natrix_program(words);
  unsetenv("NATRIX_CACHE");
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(nlohmann::json::parse(done.out)["tokens"], int64_t{900'000} * 24 + 1);
  ASSERT_EQ(cached().size(), 1u);
  EXPECT_EQ(fs::last_write_time(tiny_ / "cache/tokens/" + cached()[0] + "/shard-00000.bin"), when);
}

}  // namespace
}  // namespace natrix::test
