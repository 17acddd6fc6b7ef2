// natrix plan as a user or a script runs it.
#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

/// The one message of a refused command.
std::string refusal(const std::vector<std::string>& args) {
  const Outcome r = natrix_program(args);
  EXPECT_EQ(r.status, 2) << r.out << r.err;
  EXPECT_EQ(r.out, "");
  return r.err;
}

int64_t bytes_of(const json& plan) {
  int64_t sum = 0;
  for (const json& term : plan["communication"]) sum += term["bytes"].get<int64_t>();
  return sum;
}

// A step under verify is one of training but for its look at signals: eight bytes from each rank to the
// other.
TEST(Plan, SendsTheBytesThatVerifyMeasures) {
  const TinyRun tiny;
  for (const char* layout : {"dp2", "cp2", "cp2scan"}) {
    const json report = natrix_json({"plan", tiny.config(), "--layout", layout, "--device", "h100"});
    const auto as_verify_has_it = std::find_if(report["plans"].begin(), report["plans"].end(),
                                               [](const json& p) { return p["micro_batches"] == 1; });
    ASSERT_NE(as_verify_has_it, report["plans"].end());
    const json verified = natrix_json({"verify", tiny.config(), "--chunks", "8", "--layouts", layout});
    EXPECT_EQ(bytes_of(*as_verify_has_it) - 2 * 8, verified["layouts"][0]["bytes_per_step"]) << layout;
  }
}

TEST(Plan, CountsTheModelAsInspectDoes) {
  const TinyRun tiny;
  const json plan = natrix_json({"plan", tiny.config(), "--ranks", "2", "--device", "h100"});
  const json model = natrix_json({"inspect", tiny.config()});
  EXPECT_EQ(plan["parameters"], model["parameters"]);
  EXPECT_EQ(plan["active_parameters"], model["active_parameters"]);
  EXPECT_EQ(plan["ranks"], 2);
  EXPECT_GT(plan["meshes"], 4);
  EXPECT_EQ(plan["plans"].size(), 5u) << "--top";
  const json& best = plan["plans"][0];
  EXPECT_EQ(best["dp"].get<int>() * best["cp"].get<int>(), 2);
  EXPECT_GE(best["memory"]["weights"], model["weight_bytes_fp32"].get<int64_t>() / 2);
  EXPECT_TRUE(best["fits"]);
}

TEST(Plan, SharesOutTheOptimizersStateWhereTheRunDoes) {
  const TinyRun tiny;
  const auto optimizer = [&](const std::string& zero) {
    const json plan = natrix_json({"plan", tiny.config(), "--layout", "dp2", "--device", "h100", zero});
    return plan["plans"][0]["memory"]["optimizer"].get<double>();
  };
  EXPECT_NEAR(optimizer("parallel.zero=1") / optimizer("parallel.zero=0"), 0.5, 0.01);
}

TEST(Plan, PrintsTheMeshesAndTheTermsOfTheBest) {
  const TinyRun tiny;
  const Outcome r = natrix_program({"plan", tiny.config(), "--ranks", "2", "--device", "cpu2"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.err, "");
  EXPECT_THAT(r.out, HasSubstr("2 x one of two Zen 3 cores"));
  EXPECT_THAT(r.out, ContainsRegex("meshes fit; dp [12] x cp [12], ep [12].* is the fastest"));
  EXPECT_THAT(r.out, ContainsRegex("optimizer +[0-9.]+ KiB"));
  EXPECT_THAT(r.out, ContainsRegex("products of experts +[0-9.]+ ms +[0-9.]+  (flops|memory)"));
  EXPECT_THAT(r.out, ContainsRegex("gradients +[0-9.]+ KiB +[0-9]+ +[0-9.]+ ms"));
}

TEST(Plan, SaysWhatDoesNotFitAndWhatWould) {
  const TinyRun tiny;
  const std::vector<std::string> huge = {"plan",
                                         tiny.config(),
                                         "--device",
                                         "h100",
                                         "--ranks",
                                         "1",
                                         "model.d_model=2048",
                                         "model.repeat=16",
                                         "model.moe.num_experts=128",
                                         "model.moe.d_ff=2048"};
  const Outcome r = natrix_program(huge);
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_THAT(r.out, ContainsRegex("does not fit: dp 1 x cp 1, ep 1 needs [0-9.]+ GiB of 68.5 GiB a rank"));
  EXPECT_THAT(r.out, ContainsRegex("; [0-9]+ ranks can hold it"));
  EXPECT_EQ(r.out.find("time of a step"), std::string::npos);
  std::vector<std::string> more = huge;
  const json report = natrix_json(huge);
  EXPECT_EQ(report["fitting"], 0);
  more[5] = std::to_string(report["fits_from"].get<int>());
  EXPECT_GT(natrix_json(more)["fitting"], 0);
}

TEST(Plan, RefusesWhatItCannotPlan) {
  const TinyRun tiny;
  const std::string config = tiny.config();
  EXPECT_THAT(refusal({"plan", config, "--ranks", "2", "--device", "h10"}), HasSubstr("did you mean h100?"));
  EXPECT_THAT(refusal({"plan", config, "--ranks", "2"}), HasSubstr("--device is required"));
  EXPECT_THAT(refusal({"plan", config, "--device", "h100"}), HasSubstr("either --ranks N"));
  EXPECT_THAT(refusal({"plan", config, "--device", "h100", "--ranks", "2", "--layout", "dp2"}),
              HasSubstr("either --ranks N"));
  EXPECT_THAT(refusal({"plan", config, "--device", "h100", "--ranks", "0"}), HasSubstr("--ranks"));
  EXPECT_THAT(refusal({"plan", config, "--device", "h100", "--ranks", "2", "parallel.cp=2"}),
              HasSubstr("--layout dp2cp4ep8scan"));
  EXPECT_THAT(refusal({"plan", config, "--device", "h100", "--ranks", "67"}), HasSubstr("64 ranks can"));
  EXPECT_THAT(refusal({"plan", config, "--device", "h100", "--layout", "dp3"}),
              HasSubstr("2 rows cannot be shared out evenly over dp = 3 ranks"));
  EXPECT_THAT(refusal({"plan", config, "--device", "cpu2", "--ranks", "4"}),
              HasSubstr("has no network between nodes of 2"));
  EXPECT_THAT(refusal({"plan", tiny / "gone.yaml", "--device", "cpu2", "--ranks", "2"}),
              HasSubstr("No such file"));
}

TEST(Plan, NamesTheKeyThatAMachineLacks) {
  const TinyRun tiny;
  std::string text = read_file(NATRIX_SOURCE_DIR "/configs/devices/h100.yaml");
  const size_t at = text.find("  exps:");
  ASSERT_NE(at, std::string::npos);
  text.erase(at, text.find('\n', at) - at);
  write_file(tiny / "mine.yaml", text);
  const std::string told = refusal({"plan", tiny.config(), "--ranks", "2", "--device", tiny / "mine.yaml"});
  EXPECT_THAT(told, HasSubstr("mine.yaml: compute.exps: missing"));
}

}  // namespace
}  // namespace natrix::test
