// The line that training prints for a step. The format is modelled on llm.c's. It is one line, shown
// here as two:
//
//   step 120/1000 | loss 2.0513 (+0.12z) | norm 0.71 (-0.30z) | lr 2.9e-04 | 812 ms |
//       10.1k tok/s | mem 1.2 GiB | experts 0.91 | eta 12:04
//
// z is the number of standard deviations between a figure and the mean of the last 128 steps; beyond about 6,
// something broke. experts says how evenly experts are used (load_entropy()). Models without experts omit it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/report/metrics.h"

namespace natrix {

/// Scores a value against the ones before it.
class OutlierScore {
 public:
  /// Returns (x − mean) / standard deviation of the window, then adds x to the window. Returns nothing
  /// while the window has fewer than kFewest values or all are equal. An x that is not finite has no score
  /// and is not added.
  std::optional<double> update(double x);

  static constexpr size_t kWindow = 128, kFewest = 8;

 private:
  std::vector<double> window_;  // a ring once full
  size_t oldest_ = 0;
};

struct StepScores {
  std::optional<double> loss, grad_norm;
};

/// Call update() for every step, printed or not, so that scores compare steps and not printed lines.
class StepScorer {
 public:
  StepScores update(double loss, double grad_norm) {
    return {loss_.update(loss), grad_norm_.update(grad_norm)};
  }

 private:
  OutlierScore loss_, grad_norm_;
};

/// `steps`: of the whole run. `eta_seconds`: the remaining time, if it is known.
std::string log_line(const StepMetrics& m, const StepScores& scores, int64_t steps,
                     std::optional<double> eta_seconds);

}  // namespace natrix
