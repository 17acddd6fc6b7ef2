#include "tests/launch/tiny_run.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files/random.h"

namespace natrix::test {

namespace fs = std::filesystem;

std::string some_text(int64_t bytes, uint64_t seed) {
  const std::vector<std::string> words = {"the",  "light", "and",   "earth", "was",  "without", "form",
                                          "void", "upon",  "deep",  "moved", "face", "waters",  "let",
                                          "be",   "there", "first", "day",   "from", "divided"};
  SplitMix64 random(seed);
  std::string text;
  while (static_cast<int64_t>(text.size()) < bytes) {
    text += words[random.next() % words.size()];
    text += random.uniform() < 0.1 ? ".\n" : " ";
  }
  text.resize(static_cast<size_t>(bytes));
  return text;
}

TinyRun::TinyRun() {
  write_file(scratch_ / "text.txt", some_text(6000));
  write_file(config(), R"(model:
  pattern: ME
  d_model: 16
  mamba: {d_state: 4}
  moe: {num_experts: 4, top_k: 2, d_ff: 16}
sequence: {length: 32, chunk: 8}
data: {train: [text.txt]}
train: {steps: 40, batch_size: 2, eval_every: 0}
optimizer: {lr: 1.0e-2, warmup_steps: 5}
checkpoint: {every: 10}
log: {every: 1}
device: {backend: cpu}
)");
}

Outcome TinyRun::train(const std::string& name, const std::vector<std::string>& overrides,
                       const ProgramOptions& options) const {
  std::vector<std::string> args = {"train", config(), "run.dir=" + scratch_ / name};
  args.insert(args.end(), overrides.begin(), overrides.end());
  return natrix_program(args, options);
}

const std::string& trained_run() {
  static const TinyRun tiny;
  static const std::string run = [] {
    const Outcome outcome = tiny.train(
        "trained", {"model.d_model=32", "model.repeat=2", "sequence.length=64", "sequence.chunk=32",
                    "train.batch_size=4", "train.steps=150", "optimizer.lr=0.02", "checkpoint.every=0"});
    if (outcome.status != 0) throw std::runtime_error("the tiny model does not train: " + outcome.err);
    return tiny / "trained";
  }();
  return run;
}

nlohmann::json natrix_json(std::vector<std::string> args, const ProgramOptions& options) {
  args.insert(args.end(), {"--json", "--quiet"});
  const Outcome outcome = natrix_program(args, options);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 1) << outcome.out;
  if (!nlohmann::json::accept(outcome.out)) ADD_FAILURE() << "not JSON: " << outcome.out;
  return nlohmann::json::parse(outcome.out, nullptr, false);
}

std::vector<std::string> curve(const std::string& run) {
  std::vector<std::string> lines;
  std::ifstream file(run + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    auto figures = nlohmann::json::parse(line);
    for (const char* by_the_clock : {"seconds", "tokens_per_second", "memory_bytes"})
      figures.erase(by_the_clock);
    lines.push_back(figures.dump());  // prints digits that read back as the same double
  }
  return lines;
}

int64_t lines_logged(const std::string& run) {
  const std::string text = read_file_if_any(run + "/metrics.jsonl");
  return std::count(text.begin(), text.end(), '\n');
}

int64_t last_step_logged(const std::string& run) {
  std::ifstream file(run + "/metrics.jsonl");
  int64_t step = 0;
  for (std::string line; std::getline(file, line);) step = nlohmann::json::parse(line)["step"];
  return step;
}

int64_t newest_checkpoint(const std::string& run) {
  int64_t newest = -1;
  for (const std::string& name : checkpoints(run)) {
    if (name.starts_with("step-")) newest = std::max<int64_t>(newest, std::stoll(name.substr(5)));
  }
  return newest;
}

namespace {

/// A file of /proc; empty if the process has ended, which a read says by an error.
std::string of_process(const std::string& pid, const std::string& file) {
  try {
    return read_file_if_any("/proc/" + pid + "/" + file);
  } catch (const std::ios_base::failure&) {
    return "";
  }
}

}  // namespace

std::vector<pid_t> processes_of(const std::string& run, int ranks) {
  std::vector<pid_t> processes(static_cast<size_t>(ranks), -1);
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string words = of_process(pid, "cmdline");
    if (!words.substr(0, words.find('\0')).ends_with("/natrix") ||
        words.find("run.dir=" + run + '\0') == std::string::npos)
      continue;
    const std::string environment = of_process(pid, "environ");
    const std::string name = "OMPI_COMM_WORLD_RANK=";
    if (const size_t at = environment.find(name); at != std::string::npos)
      processes[static_cast<size_t>(std::atoi(environment.c_str() + at + name.size()))] =
          std::atoi(pid.c_str());
  }
  return processes;
}

std::vector<std::string> snapshot(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const std::string path = entry.path().string();
    const std::string content = entry.is_regular_file() ? read_file(path) : "";
    files.push_back(fmt::format("{} {} {:x}", path, content.size(), std::hash<std::string>()(content)));
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> checkpoints(const std::string& run) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(run + "/checkpoints"))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string weights(const std::string& run, int64_t step) {
  return read_file(fmt::format("{}/checkpoints/step-{:08}/model.safetensors", run, step));
}

}  // namespace natrix::test
