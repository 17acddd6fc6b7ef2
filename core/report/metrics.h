// metrics.jsonl: what a run measured, one JSON object a line, appended as it happens.
//
//   {"step": 10, "tokens": 81920, "loss": 5.1, "grad_norm": …, "lr": …, "aux_loss": …, "z_loss": …,
//    "tokens_per_second": …, "seconds": …, "memory_bytes": …, "expert_load": [[…], …]}
//   {"step": 100, "eval_loss": 4.2, "eval_bits_per_byte": …,
//    "eval_loss_by_position": [{"from": 0, "loss": …}, …]}
//
// Numbers are printed so that they read back bit for bit. JSON has no NaN: a number that is not finite is
// null, which pandas reads as NaN and jq as null, and the line's "nonfinite"
// object keeps which it was, {"loss": "-inf"}.
//
// A run that was interrupted and resumed leaves the same lines as one that was not, timings aside: lines
// beyond the step it resumes from are dropped, and so is a last line that a killed process left half-written.
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
    int64_t from = 0;  // first position of a bucket that ends where the next begins
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
  /// Appends to the file at `path`, having dropped every line of a step beyond `last_step`: the step of the
  /// checkpoint that the run resumes from, or -1 for a run that starts afresh. A crash leaves the old file or
  /// the new one.
  MetricsLog(std::string path, int64_t last_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void append(const StepMetrics& m) { write_line(to_json_line(m)); }
  void append(const EvalMetrics& m) { write_line(to_json_line(m)); }
  /// Before a checkpoint: a power failure that spares it then spares the lines that lead up to it.
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

/// Reads a metrics.jsonl, also one that is being written: a half-written last line is left out. Keys that are
/// not known are ignored, numbers that are absent are kNotMeasured.
/// InputError naming file and line for anything else.
Metrics read_metrics(const std::string& path);

/// How evenly experts are used: entropy of their shares over its maximum;
/// 1 when all alike, 0 when one takes all.
double load_entropy(const std::vector<double>& shares);
/// Mean over the layers; NaN without any.
double mean_load_entropy(const std::vector<std::vector<double>>& expert_load);

}  // namespace natrix
