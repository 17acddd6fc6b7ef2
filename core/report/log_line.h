// The line that training prints for a step, in the manner of llm.c:
//
//   step 120/1000 | loss 2.0513 (+0.12z) | norm 0.71 (-0.30z) | lr 2.9e-04 | 812 ms | 10.1k tok/s | mem 1.2
//   GiB | experts 0.91 | eta 12:04                                                      (one line)
//
// z: by how many standard deviations a figure departs from those of the last 128 steps; beyond 6 or so
// something broke. experts: how evenly experts are used, see load_entropy(); left out without experts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/report/metrics.h"

namespace natrix {

/// Scores a value against the ones before it.
class OutlierScore {
 public:
  /// (x - mean) / deviation of the values in the window, which x then joins. None while the window holds
  /// fewer than kFewest values or they are all alike, and for an x that is not finite,
  /// which stays out of the window.
  std::optional<double> update(double x);

  static constexpr size_t kWindow = 128, kFewest = 8;

 private:
  std::vector<double> window_;  // a ring once full
  size_t oldest_ = 0;
};

struct StepScores {
  std::optional<double> loss, grad_norm;
};

/// Call it for every step, printed or not: the scores then speak of steps.
class StepScorer {
 public:
  StepScores update(double loss, double grad_norm) {
    return {loss_.update(loss), grad_norm_.update(grad_norm)};
  }

 private:
  OutlierScore loss_, grad_norm_;
};

/// `steps`: of the whole run. `eta_seconds`: time the rest of it will take; left out where it is not known.
std::string log_line(const StepMetrics& m, const StepScores& scores, int64_t steps,
                     std::optional<double> eta_seconds);

}  // namespace natrix
