// metrics.jsonl: the measurements of a run, one JSON object per line, appended as the run proceeds.
//
//   {"step": 10, "tokens": 81920, "loss": 5.1, "grad_norm": …, "lr": …, "aux_loss": …, "z_loss": …,
//    "tokens_per_second": …, "seconds": …, "memory_bytes": …, "expert_load": [[…], …]}
//   {"step": 100, "eval_loss": 4.2, "eval_bits_per_byte": …,
//    "eval_loss_by_position": [{"from": 0, "loss": …}, …]}
//
// Numbers are printed so that they read back bit for bit. JSON has no NaN, so a number that is not finite is
// null; pandas reads that as NaN, jq as null. The line's object "nonfinite" says which number it was, for
// example {"loss": "-inf"}.
//
// A run that was interrupted and resumed leaves the same lines as one that was not, except for timings.
// On resuming, lines after the checkpoint's step are dropped, and so is a last line that a killed
// process left half-written.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace natrix {

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

struct StepMetrics {
  int64_t step = 0;
  int64_t tokens = 0;               // seen in training up to and including this step
  double loss = kNotMeasured;       // mean next-token cross-entropy, nats
  double grad_norm = kNotMeasured;  // before clipping
  double lr = kNotMeasured;
  double aux_loss = 0, z_loss = 0;  // without their coefficients; 0 without experts
  double tokens_per_second = kNotMeasured;
  double seconds = kNotMeasured;                 // wall time of the step
  int64_t memory_bytes = 0;                      // peak resident memory of the process; of a device's, on one
  std::vector<std::vector<double>> expert_load;  // [MoE layer][expert]: share of the slots, sums to 1 a layer
};

struct EvalMetrics {
  int64_t step = 0;
  double eval_loss = kNotMeasured;  // nats
  double eval_bits_per_byte = kNotMeasured;
  struct PositionLoss {
    int64_t from = 0;  // first position of the bucket, which ends where the next one begins
    double loss = kNotMeasured;
  };
  std::vector<PositionLoss> loss_by_position;  // may be empty
};

/// The line of metrics.jsonl, without its newline.
std::string to_json_line(const StepMetrics& m);
std::string to_json_line(const EvalMetrics& m);

/// Writes metrics.jsonl. A line reaches the file in one write() when append returns.
class MetricsLog {
 public:
  /// Drops every line of a step after `last_step`, then appends to the file. `last_step` is the step of the
  /// checkpoint that the run resumes from, or −1 for a new run. A crash leaves the old file or the new one.
  MetricsLog(std::string path, int64_t last_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void append(const StepMetrics& m) { write_line(to_json_line(m)); }
  void append(const EvalMetrics& m) { write_line(to_json_line(m)); }
  /// Syncs the file. Call it before a checkpoint, so that a power failure that spares the checkpoint also
  /// spares the lines before it.
  void sync();

 private:
  void write_line(std::string line);

  std::string path_;
  int fd_ = -1;
};

struct Metrics {
  std::vector<StepMetrics> steps;
  std::vector<EvalMetrics> evals;
};

/// Reads a metrics.jsonl, even while it is being written. A half-written last line is skipped, unknown keys
/// are ignored, and absent numbers are kNotMeasured. Anything else is an InputError that names file and line.
Metrics read_metrics(const std::string& path);

/// How evenly experts are used: the entropy of their shares divided by its maximum. 1 if all shares are
/// equal, 0 if one expert takes all.
double load_entropy(const std::vector<double>& shares);
/// The mean over the layers; NaN if there are none.
double mean_load_entropy(const std::vector<std::vector<double>>& expert_load);

}  // namespace natrix
