// Numbers on the command line: one way to write them for all flags, that of the YAML.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Words = std::vector<std::string>;

struct NumberFlag {
  std::string name;
  Words before;  // the command, without what is required of files: flags are read first
  std::string flag, allowed;
  Words refused;
};

class Number : public ::testing::TestWithParam<NumberFlag> {};

TEST_P(Number, NamesTheFlagTheValueAndWhatIsAllowed) {
  const NumberFlag& p = GetParam();
  for (const std::string& value : p.refused) {
    Words words = p.before;
    words.insert(words.end(), {p.flag, value});
    const Outcome r = natrix_program(words);
    EXPECT_EQ(r.status, 2) << value;
    EXPECT_EQ(r.out, "");
    EXPECT_THAT(r.err, StartsWith("natrix: " + p.flag + ": "));
    EXPECT_THAT(r.err, HasSubstr(value + " is not " + p.allowed));
  }
}

const Words kGenerate = {"generate", "gone", "-p", "x"}, kEval = {"eval", "gone", "--data", "x"},
            kTrain = {"train", "gone.yaml"}, kVerify = {"verify", "gone.yaml"},
            kPlan = {"plan", "gone.yaml", "--device", "h100"}, kData = {"data", "gone", "--out", "x"},
            kScore = {"score", "gone", "--tokens", "x", "--out", "x"},
            kGradients = {"gradients", "gone", "--tokens", "x", "--out", "x"};
const std::string kCount = "an integer from ", kReal = "a number from ";

// clang-format off
const NumberFlag kFlags[] = {
    {"top_k", kGenerate, "--top-k", kCount + "0 to", {"-1", "nan", "1x", "1.0", "0x10", "1e3", "010", "9223372036854775808"}},
    {"count", kGenerate, "--n-predict", kCount + "0 to", {"99999999999999999999", "-1", "inf"}},
    {"temperature", kGenerate, "--temp", kReal + "0 to 100", {"nan", "-nan", "inf", "1e400", "-0.5", "101", "1,5", "0x1p3", "warm"}},
    {"top_p", kGenerate, "--top-p", kReal + "0 to 1", {"nan", "1.01", "-1e-9"}},
    {"min_p", kGenerate, "--min-p", kReal + "0 to 1", {"nan", "2"}},
    {"penalty", kGenerate, "--repeat-penalty", kReal + "0.01 to 100", {"nan", "0", "inf"}},
    {"window", kGenerate, "--repeat-last-n", kCount + "0 to", {"-1", "2147483649"}},
    {"seed", kGenerate, "--seed", "-1 or an integer from 0 to 2^64 - 1", {"-2", "18446744073709551616", "1.5", "+-1", "nan"}},
    {"chunk", kGenerate, "--chunk", kCount + "1 to", {"0", "-1", "1e400"}},
    {"threads", kGenerate, "--threads", kCount + "0 to 4096", {"1x", "4097", "99999999999999999999"}},
    {"context", kEval, "--context", kCount + "0 to", {"-1", "nan"}},
    {"batch", kEval, "--batch-size", kCount + "1 to", {"0", "1x"}},
    {"score_chunk", kScore, "--chunk", kCount + "1 to", {"0", "1x"}},
    {"gradients_chunk", kGradients, "--chunk", kCount + "1 to", {"0", "1x"}},
    {"train_chunk", kTrain, "--chunk", kCount + "1 to", {"0", "1x", "1e3"}},
    {"train_threads", kTrain, "--threads", "auto, or an integer from 1 to 4096", {"0", "1x", "nan"}},
    {"tolerance", kVerify, "--tolerance", "a number of at least 0", {"nan", "inf", "-1e-9", "1e-5x"}},
    {"verify_threads", kVerify, "--threads", "auto, or an integer from 1 to 4096", {"0"}},
    {"chunks", kVerify, "--chunks", "whole, or an integer from 1 to", {"0", "1e3", "99999999999999999999", "nan"}},
    {"ranks", kPlan, "--ranks", kCount + "1 to 1048576", {"0", "1048577", "nan"}},
    {"top", kPlan, "--top", kCount + "1 to 1000", {"0", "1001"}},
    {"shard", kData, "--shard-tokens", kCount + "1 to", {"0", "1e6"}},
};
// clang-format on
INSTANTIATE_TEST_SUITE_P(Flags, Number, ::testing::ValuesIn(kFlags),
                         [](const auto& info) { return info.param.name; });

TEST(NumberInAList, IsCheckedLikeAnyOther) {
  const Outcome r = natrix_program({"verify", "gone.yaml", "--chunks", "8,4x"});
  EXPECT_EQ(r.status, 2);
  EXPECT_THAT(r.err, HasSubstr("--chunks: 4x is not"));
}

TEST(NumberWithBlanks, IsShownInQuotes) {
  for (const std::string value : {" 5", "5 ", ""}) {
    const Outcome r = natrix_program({"generate", "gone", "-p", "x", "--top-k", value});
    EXPECT_EQ(r.status, 2);
    EXPECT_THAT(r.err, HasSubstr("--top-k: \"" + value + "\" is not an integer"));
  }
}

TEST(NumberOfAnotherSpelling, IsSuggested) {
  const Outcome r = natrix_program({"generate", "gone", "-p", "x", "--top-k", "1e3"});
  EXPECT_THAT(r.err, HasSubstr("did you mean 1000?"));
}

TEST(NumbersThatAreAllowed, AreTaken) {
  const Words common = {"generate", trained_run(), "-p", "the ", "-n", "3", "-q"};
  for (const Words& more :
       {Words{"--temp", "1e-300"}, Words{"--temp", "100", "--top-k", "+7"}, Words{"--top-p", "0"},
        Words{"--min-p", "1"}, Words{"--top-k", "1099511627776"}, Words{"-t", "0"},
        Words{"--seed", "18446744073709551615"}, Words{"--repeat-last-n", "0"}}) {
    Words words = common;
    words.insert(words.end(), more.begin(), more.end());
    const Outcome r = natrix_program(words);
    EXPECT_EQ(r.status, 0) << more.back() << r.err;
    EXPECT_EQ(r.err, "");
  }
}

TEST(Seed, OfMinusOneIsRandomAndTold) {
  const Words common = {"generate", trained_run(), "-p", "the ", "-n", "30", "--temp", "3", "--top-k", "0"};
  const auto with = [&](const Words& more) {
    Words words = common;
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const nlohmann::json first = natrix_json(with({"--seed", "-1"})), second = natrix_json(with({"-s", "-1"}));
  EXPECT_NE(first["seed"], second["seed"]) << "alike once in four thousand million times";
  EXPECT_EQ(natrix_json(with({"--seed", first["seed"].dump()}))["text"], first["text"]);
  EXPECT_EQ(natrix_json(with({"--seed", "18446744073709551615"}))["seed"], 18446744073709551615u);
  EXPECT_THAT(natrix_program(with({"--seed", "-1"})).err, ::testing::ContainsRegex("natrix: seed [0-9]+\n"));
  EXPECT_EQ(natrix_program(with({"--seed", "-1", "-q"})).err, "");
  EXPECT_THAT(natrix_program(with({"--seed", "1"})).err, ::testing::Not(HasSubstr("seed")));
  EXPECT_THAT(natrix_program({"generate", "--help"}).out, HasSubstr("-1: a random one"));
}

}  // namespace
}  // namespace natrix::test
