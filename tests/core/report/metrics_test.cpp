#include "core/report/metrics.h"

#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

using nlohmann::json;

StepMetrics step_at(int64_t step) {
  const auto s = static_cast<double>(step);
  return {.step = step,
          .tokens = 8192 * step,
          .loss = 5.0 / 3.0 + 1.0 / (s + 0.1),
          .grad_norm = 0.1 * s + 1e-17,
          .lr = 3e-4 / 7.0,
          .aux_loss = 1.0 + 1e-15,
          .z_loss = 4.9406564584124654e-324,  // the smallest double
          .tokens_per_second = 1.0e4 / 3.0,
          .seconds = 0.8123456789012345,
          .memory_bytes = (int64_t{1} << 53) + 1,  // no double holds it
          .expert_load = {{1.0 / 3.0, 2.0 / 3.0}, {0, 1}}};
}

void expect_same(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) {
    EXPECT_EQ(std::isnan(a), std::isnan(b));
  } else {
    EXPECT_EQ(a, b);  // bit for bit
  }
}

void expect_same(const StepMetrics& a, const StepMetrics& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.memory_bytes, b.memory_bytes);
  EXPECT_EQ(a.expert_load, b.expert_load);
  for (const auto field :
       {&StepMetrics::loss, &StepMetrics::grad_norm, &StepMetrics::lr, &StepMetrics::aux_loss,
        &StepMetrics::z_loss, &StepMetrics::tokens_per_second, &StepMetrics::seconds}) {
    expect_same(a.*field, b.*field);
  }
}

/// A run's usual order: the step, then its evaluation.
void log_steps(MetricsLog& log, int64_t first, int64_t last) {
  for (int64_t step = first; step <= last; ++step) {
    log.append(step_at(step));
    if (step % 5 == 0) {
      log.append(EvalMetrics{step, 4.2, 1.7, {{0, 5.5}, {1, 4.0}}});
    }
  }
}

TEST(Metrics, ReadBackBitForBit) {
  const ScratchDir scratch;
  const std::string path = scratch / "metrics.jsonl";
  {
    MetricsLog log(path, -1);
    log_steps(log, 0, 10);
  }
  const Metrics metrics = read_metrics(path);
  ASSERT_EQ(metrics.steps.size(), 11u);
  for (int64_t s = 0; s <= 10; ++s) expect_same(metrics.steps[static_cast<size_t>(s)], step_at(s));
  ASSERT_EQ(metrics.evals.size(), 3u);
  EXPECT_EQ(metrics.evals[2].step, 10);
  EXPECT_EQ(metrics.evals[2].eval_loss, 4.2);
  EXPECT_EQ(metrics.evals[2].eval_bits_per_byte, 1.7);
  ASSERT_EQ(metrics.evals[2].loss_by_position.size(), 2u);
  EXPECT_EQ(metrics.evals[2].loss_by_position[1].from, 1);
  EXPECT_EQ(metrics.evals[2].loss_by_position[1].loss, 4.0);
}

TEST(Metrics, LinesHaveTheDocumentedKeys) {
  const json step = json::parse(to_json_line(step_at(3)));
  for (const char* key : {"step", "tokens", "loss", "grad_norm", "lr", "aux_loss", "z_loss",
                          "tokens_per_second", "seconds", "memory_bytes", "expert_load"}) {
    EXPECT_TRUE(step.contains(key)) << key;
  }
  EXPECT_FALSE(step.contains("nonfinite"));
  EXPECT_EQ(to_json_line(EvalMetrics{7, 2.5, 1.25, {}}),
            R"({"step":7,"eval_loss":2.5,"eval_bits_per_byte":1.25})");
}

TEST(Metrics, NonFiniteNumbersAreNullAndKeepTheirKind) {
  StepMetrics m = step_at(1);
  m.loss = NAN;
  m.grad_norm = INFINITY;
  m.z_loss = -INFINITY;
  m.expert_load[0][1] = NAN;
  const std::string line = to_json_line(m);
  const json parsed = json::parse(line);
  EXPECT_TRUE(parsed["loss"].is_null());
  EXPECT_TRUE(parsed["expert_load"][0][1].is_null());
  EXPECT_EQ(parsed["nonfinite"], (json{{"loss", "nan"}, {"grad_norm", "inf"}, {"z_loss", "-inf"}}));

  const ScratchDir scratch;
  const Metrics back = read_metrics(scratch.write("metrics.jsonl", line + "\n"));
  ASSERT_EQ(back.steps.size(), 1u);
  EXPECT_TRUE(std::isnan(back.steps[0].expert_load[0][1]));
  m.expert_load[0][1] = 0;
  StepMetrics read = back.steps[0];
  read.expert_load[0][1] = 0;
  expect_same(read, m);
}

TEST(MetricsLog, ShowsEachLineAtOnce) {
  const ScratchDir scratch;
  MetricsLog log(scratch / "metrics.jsonl", -1);
  log.append(step_at(1));
  EXPECT_EQ(read_file(scratch / "metrics.jsonl"), to_json_line(step_at(1)) + "\n");
}

// A process killed anywhere in its file, resumed from the checkpoint of step 5, ends with the file of a run
// that was never interrupted.
TEST(MetricsLog, AResumedRunLeavesTheFileOfAnUninterruptedOne) {
  const ScratchDir scratch;
  const std::string path = scratch / "metrics.jsonl";
  {
    MetricsLog log(path, -1);
    log_steps(log, 1, 12);
  }
  const std::string whole = read_file(path);
  size_t line_of_5 = 0;  // all that a checkpoint of step 5 stands for lies before this offset
  for (int i = 0; i < 6; ++i) line_of_5 = whole.find('\n', line_of_5) + 1;

  for (size_t killed_at = line_of_5; killed_at <= whole.size(); killed_at += 11) {
    scratch.write("metrics.jsonl", whole.substr(0, killed_at));
    MetricsLog log(path, 5);
    EXPECT_EQ(read_file(path), whole.substr(0, line_of_5));
    log_steps(log, 6, 12);
    ASSERT_EQ(read_file(path), whole) << "killed at byte " << killed_at;
  }
}

TEST(MetricsLog, DropsATornLineThatAFullDiskOrPowerFailureFilledWithZeros) {
  const ScratchDir scratch;
  const std::string line = to_json_line(step_at(1)) + "\n";
  const std::string path = scratch.write("metrics.jsonl", line + std::string(512, '\0'));
  EXPECT_EQ(read_metrics(path).steps.size(), 1u);
  MetricsLog log(path, 1);
  EXPECT_EQ(read_file(path), line);
}

TEST(MetricsLog, KeepsALastLineThatLacksOnlyItsNewline) {
  const ScratchDir scratch;
  const std::string path = scratch.write("metrics.jsonl", to_json_line(step_at(1)));
  EXPECT_EQ(read_metrics(path).steps.size(), 1u);
  MetricsLog log(path, 1);
  log.append(step_at(2));
  EXPECT_EQ(read_metrics(path).steps.size(), 2u);
}

TEST(MetricsLog, AFreshRunStartsEmpty) {
  const ScratchDir scratch;
  const std::string path =
      scratch.write("metrics.jsonl", to_json_line(EvalMetrics{.step = 0, .eval_loss = 5}) + "\n");
  const MetricsLog log(path, -1);
  EXPECT_EQ(read_file(path), "");
}

TEST(MetricsLog, KeepsLinesOfLaterVersionsByteForByte) {
  const ScratchDir scratch;
  const std::string kept = R"({"step": 1,  "loss": 2.50, "new": {"a": [1]}})"
                           "\n";
  const std::string path = scratch.write("metrics.jsonl", kept + R"({"step": 2, "loss": 2})"
                                                                 "\n");
  const MetricsLog log(path, 1);
  EXPECT_EQ(read_file(path), kept);
}

TEST(MetricsLog, SaysWhereItCannotWrite) {
  expect_error<RunError>([] { MetricsLog("/nowhere/metrics.jsonl", -1); },
                         {"/nowhere/metrics.jsonl", "No such file"});
}

TEST(Metrics, JunkIsRefusedWithFileAndLine) {
  const ScratchDir scratch;
  const std::string good = to_json_line(step_at(1)) + "\n";
  const auto refuses = [&](const std::string& line, const std::string& why) {
    const std::string path = scratch.write("metrics.jsonl", good + line + "\n" + good);
    expect_error<InputError>([&] { read_metrics(path); }, {path, "line 2", why});
  };
  refuses("{\"step\": 2, \"lo", "not valid JSON");  // torn, but not at the end
  refuses("", "not valid JSON");
  refuses("[1, 2]", "expected a JSON object");
  refuses("{\"loss\": 2}", "\"step\"");
  refuses("{\"step\": -1, \"loss\": 2}", "-1");
  refuses("{\"step\": 2.5, \"loss\": 2}", "2.5");
  refuses("{\"step\": 2}", "expected an object with \"step\" and either \"loss\" or \"eval_loss\"");
  refuses("{\"step\": 2, \"loss\": \"low\"}", "expected a number or null");
  refuses("{\"step\": 2, \"loss\": 2, \"expert_load\": [0.5]}", "array of arrays");
  refuses("{\"step\": 2, \"eval_loss\": 2, \"eval_loss_by_position\": [3]}", "expected a JSON object");
  expect_error<InputError>([&] { read_metrics(scratch / "none.jsonl"); }, {"none.jsonl"});
}

TEST(Metrics, AbsentNumbersAreNotMeasured) {
  const ScratchDir scratch;
  const Metrics m = read_metrics(scratch.write("metrics.jsonl", "{\"step\": 4, \"loss\": 2}\n"));
  ASSERT_EQ(m.steps.size(), 1u);
  EXPECT_EQ(m.steps[0].loss, 2);
  EXPECT_TRUE(std::isnan(m.steps[0].grad_norm));
  EXPECT_TRUE(m.steps[0].expert_load.empty());
}

TEST(LoadEntropy, IsOneForEvenAndZeroForCollapsedUse) {
  EXPECT_DOUBLE_EQ(load_entropy({0.25, 0.25, 0.25, 0.25}), 1);
  EXPECT_DOUBLE_EQ(load_entropy({0, 1, 0, 0}), 0);
  EXPECT_DOUBLE_EQ(load_entropy({0.5, 0.5, 0, 0}), 0.5);
  EXPECT_DOUBLE_EQ(load_entropy({1}), 1);
  EXPECT_TRUE(std::isnan(load_entropy({0, 0})));
  EXPECT_TRUE(std::isnan(load_entropy({0.5, NAN})));
  EXPECT_DOUBLE_EQ(mean_load_entropy({{0.5, 0.5}, {1, 0}}), 0.5);
  EXPECT_TRUE(std::isnan(mean_load_entropy({})));
}

}  // namespace
}  // namespace natrix::test
