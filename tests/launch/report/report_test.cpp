#include "launch/report/report.h"

#include <cmath>
#include <cstdio>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "launch/report/chart_data.h"
#include "tests/core/synthetic_run.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

using nlohmann::json;

RunRecord record(const std::string& name, const SyntheticRun& run) {
  return {.name = name, .path = name, .config = "model: {pattern: ME}\n", .metrics = synthetic_metrics(run)};
}

/// The data that a page carries for its script, as a browser would read it.
json data_of(const std::string& page) {
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const size_t begin = page.find(open) + open.size();
  return json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

size_t count_of(const std::string& page, const std::string& text) {
  size_t count = 0;
  for (size_t at = page.find(text); at != page.npos; at = page.find(text, at + 1)) ++count;
  return count;
}

std::string write_run(const ScratchDir& scratch, const std::string& name, const SyntheticRun& run) {
  const Metrics metrics = synthetic_metrics(run);
  std::string lines;
  for (const auto& m : metrics.steps) lines += to_json_line(m) + "\n";
  for (const auto& m : metrics.evals) lines += to_json_line(m) + "\n";
  scratch.write(name + "/metrics.jsonl", lines);
  scratch.write(name + "/config.yaml", "model: {pattern: ME}\n");
  return scratch / name;
}

TEST(ChartData, AShortRunIsDrawnAsItIs) {
  const Metrics m = synthetic_metrics({.steps = 100, .log_every = 1, .eval_every = 50});
  const json data = chart_data(m);
  const json& loss = data["steps"]["loss"];
  ASSERT_EQ(loss["y"].size(), 100u);
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_NEAR(loss["y"][i].get<double>(), m.steps[i].loss, 1e-5 * m.steps[i].loss);  // six digits
    EXPECT_EQ(data["steps"]["step"][i], i + 1);
  }
  EXPECT_FALSE(loss.contains("lo"));
  EXPECT_TRUE(loss["broken"].empty());
  EXPECT_EQ(data["evals"]["step"], (json{50, 100}));
  EXPECT_EQ(data["evals"]["tokens"], (json{50 * 32768.0, 100 * 32768.0}));
}

TEST(ChartData, ALongRunIsBinnedWithoutLosingASpike) {
  Metrics m = synthetic_metrics({.steps = 40000, .log_every = 1, .eval_every = 100000, .layers = 0});
  m.steps[12345].loss = 99;
  m.steps[12346].loss = -99;
  const json loss = chart_data(m)["steps"]["loss"];
  ASSERT_EQ(loss["y"].size(), kMostPoints);
  double highest = 0, lowest = 0, sum = 0, expected = 0;
  for (size_t i = 0; i < kMostPoints; ++i) {
    highest = std::max(highest, loss["hi"][i].get<double>());
    lowest = std::min(lowest, loss["lo"][i].get<double>());
    sum += loss["y"][i].get<double>() / static_cast<double>(kMostPoints);
    EXPECT_LE(loss["lo"][i], loss["y"][i]);
    EXPECT_LE(loss["y"][i], loss["hi"][i]);
  }
  for (const auto& step : m.steps) expected += step.loss / static_cast<double>(m.steps.size());
  EXPECT_EQ(highest, 99);
  EXPECT_EQ(lowest, -99);
  EXPECT_NEAR(sum, expected, 0.002 * expected);  // bins differ in size by one step of 26
}

TEST(ChartData, NumbersThatAreNotFiniteAreMarkedGaps) {
  Metrics m = synthetic_metrics({.steps = 50, .log_every = 1, .layers = 0});
  m.steps[7].loss = NAN;
  m.steps[9].loss = INFINITY;
  for (auto& step : m.steps) step.grad_norm = NAN;
  const json data = chart_data(m);
  EXPECT_TRUE(data["steps"]["loss"]["y"][7].is_null());
  EXPECT_TRUE(data["steps"]["loss"]["y"][9].is_null());
  EXPECT_EQ(data["steps"]["loss"]["broken"], (json{7, 9}));
  EXPECT_TRUE(data["steps"]["grad_norm"].is_null());
}

TEST(ChartData, ExpertLoadKeepsSharesAndIsBounded) {
  const Metrics m = synthetic_metrics({.steps = 2000, .log_every = 1, .layers = 3, .experts = 8});
  const json experts = chart_data(m)["experts"];
  EXPECT_EQ(experts["layers"], 3);
  EXPECT_EQ(experts["experts"], 8);
  EXPECT_EQ(experts["first"], 1);
  EXPECT_EQ(experts["last"], 2000);
  ASSERT_EQ(experts["load"].size(), kMostHeatColumns);
  for (const json& column : experts["load"]) {
    ASSERT_EQ(column.size(), 24u);
    for (size_t layer = 0; layer < 3; ++layer) {
      int64_t sum = 0;
      for (size_t e = 0; e < 8; ++e) sum += column[layer * 8 + e].get<int64_t>();
      EXPECT_NEAR(static_cast<double>(sum), 1e5, 8 * 0.5);  // each share rounded to 1e-5
    }
  }
  const Metrics wide = synthetic_metrics({.steps = 600, .log_every = 10, .layers = 40, .experts = 256});
  EXPECT_EQ(chart_data(wide)["experts"]["load"].size(), kFewestHeatColumns);
}

TEST(ChartData, PositionsAreTheLatestEvaluations) {
  Metrics m = synthetic_metrics({.steps = 200, .eval_every = 100});
  m.evals.push_back({.step = 210, .eval_loss = 2});  // without positions
  const json position = chart_data(m)["position"];
  EXPECT_EQ(position["step"], 200);
  EXPECT_EQ(position["from"][3], 4);
  EXPECT_EQ(position["from"].size(), m.evals[1].loss_by_position.size());
}

TEST(ChartData, TokensOfAnEvaluationBetweenLoggedStepsAreInterpolated) {
  Metrics m;
  for (const int64_t step : {10, 20}) m.steps.push_back({.step = step, .tokens = 100 * step, .loss = 2});
  for (const int64_t step : {0, 5, 15, 20, 25}) m.evals.push_back({.step = step, .eval_loss = 2});
  EXPECT_EQ(chart_data(m)["evals"]["tokens"], (json{0.0, 500.0, 1500.0, 2000.0, 2000.0}));
}

TEST(ChartData, StarvedExpertsHaveLessThanATenthOfAnEvenShare) {
  EXPECT_EQ(starved_experts({{0.25, 0.25, 0.25, 0.25}}), 0);
  EXPECT_EQ(starved_experts({{0.5, 0.476, 0.024, 0.0}, {1, 0, 0, 0}}), 5);  // a tenth of a quarter is 0.025
  EXPECT_TRUE(std::isnan(starved_experts({})));
}

TEST(Report, NeedsNothingButItself) {
  const std::string page = render_report({record("quickstart", {})});
  EXPECT_EQ(count_of(page, "http"),
            count_of(page, "http-equiv") + count_of(page, "http://www.w3.org/2000/svg"));
  for (const char* external : {" src=", "<link", "@import", "import(", "fetch(", "XMLHttpRequest", "//cdn"}) {
    EXPECT_EQ(count_of(page, external), 0u) << external;
  }
  EXPECT_EQ(count_of(page, "url("), count_of(page, "url(#"));
  EXPECT_EQ(count_of(page, "default-src 'none'"), 1u);  // and the browser holds it to that
  EXPECT_EQ(count_of(page, "prefers-color-scheme: dark"), 2u);
  EXPECT_EQ(data_of(page).size(), 1u);
}

TEST(Report, TextOfARunCannotBecomeMarkup) {
  RunRecord run = record("</script><b>'\"&{{data}}\xff", {.steps = 50});
  run.config = "</pre><script>alert(1)</script> {{style}} a < b & c";
  const std::string page = render_report({run, record("other", {.steps = 50})});
  EXPECT_EQ(count_of(page, "</script>"), 2u);  // ours
  EXPECT_EQ(count_of(page, "<b>"), 0u);
  EXPECT_NE(page.find("&lt;/script&gt;&lt;b&gt;&#39;&quot;&amp;{{data}}"), page.npos);
  EXPECT_NE(page.find("&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt; {{style}} a &lt; b &amp; c"),
            page.npos);
  EXPECT_EQ(data_of(page)[0]["name"], "</script><b>'\"&{{data}}\xef\xbf\xbd");
}

TEST(Report, FiguresAreTheRunsOwn) {
  RunRecord run = record("r", {.steps = 300, .eval_every = 100});
  for (auto& m : run.metrics.steps) m.loss = 2.5;
  run.metrics.evals[1].eval_loss = 1.25;
  run.metrics.evals[2].eval_loss = 1.5;
  const std::string page = render_report({run});
  for (const char* shown :
       {"<td>300<", "<td>9.8M<", "<td>2.5000<", "<td>1.5000<small>best 1.2500 at step 200<"}) {
    EXPECT_EQ(count_of(page, shown), 1u) << shown;
  }
}

TEST(Report, MissingPiecesAreLeftOut) {
  const auto data = [](const RunRecord& run) { return data_of(render_report({run}))[0]; };
  const json dense = data(record("dense", {.layers = 0}));
  for (const char* key : {"aux_loss", "z_loss", "entropy", "starved"})
    EXPECT_TRUE(dense["steps"][key].is_null());
  EXPECT_TRUE(dense["experts"].is_null());

  const json early = data(record("early", {.steps = 10}));  // one step, no evaluation
  EXPECT_EQ(early["steps"]["loss"]["y"].size(), 1u);
  EXPECT_TRUE(early["evals"]["loss"].is_null());
  EXPECT_TRUE(early["position"].is_null());

  RunRecord evals_only = record("evals", {});
  evals_only.metrics.steps.clear();
  evals_only.config.clear();
  EXPECT_EQ(data(evals_only)["evals"]["loss"]["y"].size(), 10u);
  EXPECT_EQ(count_of(render_report({evals_only}), "<details>"), 0u);

  RunRecord diverged = record("diverged", {});
  for (auto& m : diverged.metrics.steps) m.loss = NAN;
  EXPECT_TRUE(data(diverged)["steps"]["loss"].is_null());
  EXPECT_EQ(count_of(render_report({diverged}), "<td>not finite<"), 1u);
}

TEST(Report, IsWrittenIntoTheFirstRun) {
  const ScratchDir scratch;
  const std::string a = write_run(scratch, "a", {.steps = 50}), b = write_run(scratch, "b", {.steps = 80});
  EXPECT_EQ(write_report({a, b}), scratch / "a/report.html");
  const json data = data_of(read_file(scratch / "a/report.html"));
  ASSERT_EQ(data.size(), 2u);
  EXPECT_EQ(data[0]["name"], "a");
  EXPECT_EQ(data[1]["name"], "b");
  EXPECT_EQ(write_report({b + "/metrics.jsonl"}, scratch / "page.html"), scratch / "page.html");
  EXPECT_EQ(data_of(read_file(scratch / "page.html"))[0]["name"], "b");
}

TEST(Report, RunsOfOneNameAreToldApartByTheirPaths) {
  const ScratchDir scratch;
  const std::string a = write_run(scratch, "x/run", {.steps = 50}),
                    b = write_run(scratch, "y/run", {.steps = 50});
  const auto records = read_runs({a, b, write_run(scratch, "z", {.steps = 50})});
  EXPECT_EQ(records[0].name, a);
  EXPECT_EQ(records[1].name, b);
  EXPECT_EQ(records[2].name, "z");
}

TEST(Report, SaysWhatIsMissing) {
  const ScratchDir scratch;
  scratch.write("empty/config.yaml", "");
  scratch.write("begun/metrics.jsonl", "");
  expect_error<InputError>([&] { write_report({scratch / "none"}); },
                           {"none", "no such run", "metrics.jsonl"});
  expect_error<InputError>([&] { write_report({scratch / "empty"}); },
                           {"empty", "no metrics.jsonl", "natrix train"});
  expect_error<InputError>([&] { write_report({scratch / "begun"}); },
                           {"begun", "no metrics yet", "log.every"});
}

/// The document as a browser leaves it after its script has run.
std::string rendered_by_browser(const std::string& page, const ScratchDir& scratch) {
  const std::string command =
      "chromium --headless --no-sandbox --disable-gpu --user-data-dir=" + scratch.path() +
      "/profile --virtual-time-budget=2000 --dump-dom file://" + scratch.write("page.html", page) +
      " 2>/dev/null";
  std::string dom;
  if (FILE* pipe = ::popen(command.c_str(), "r")) {
    char buffer[4096];
    for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) dom.append(buffer, n);
    ::pclose(pipe);
  }
  return dom;
}

TEST(Report, DrawsEveryPanelInABrowserSlow) {
  if (std::system("command -v chromium > /dev/null 2>&1") != 0) GTEST_SKIP() << "no chromium here";
  const ScratchDir scratch;
  const auto panels = [&](const std::vector<RunRecord>& runs) {
    const std::string dom = rendered_by_browser(render_report(runs), scratch);
    const size_t drawn = count_of(dom, "<section class=\"panel");
    EXPECT_GE(count_of(dom, "class=\"line"), drawn * runs.size() / 2) << "panels without curves";
    EXPECT_EQ(count_of(dom, "NaN"), 0u) << "coordinates that are not numbers";
    return std::pair(drawn, count_of(dom, "<canvas"));
  };
  EXPECT_EQ(panels({record("moe", {})}), std::pair(size_t{11}, size_t{5}));  // 4 layers and the key
  EXPECT_EQ(panels({record("moe", {}), record("dense", {.layers = 0})}), std::pair(size_t{11}, size_t{5}));
  EXPECT_EQ(panels({record("dense", {.layers = 0})}), std::pair(size_t{7}, size_t{0}));
  EXPECT_EQ(panels({record("one step", {.steps = 10, .layers = 0})}), std::pair(size_t{5}, size_t{0}));
}

}  // namespace
}  // namespace natrix::test
