#include "core/report/log_line.h"

#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include "core/report/units.h"

namespace natrix {
namespace {

std::string parenthesised(std::optional<double> z) {
  return z ? fmt::format(" ({:+.2f}z)", *z) : std::string();
}

/// 0.71, or 3.2e-03 if two decimals would be too few.
std::string shown_norm(double norm) {
  return norm < 0.095 ? fmt::format("{:.1e}", norm) : fmt::format("{:.2f}", norm);
}

}  // namespace

std::optional<double> OutlierScore::update(double x) {
  if (!std::isfinite(x)) return {};
  // A running sum would drift, and 128 additions per step cost nothing.
  const auto count = static_cast<double>(window_.size());
  const double mean = std::accumulate(window_.begin(), window_.end(), 0.0) / count;
  double squares = 0;
  for (const double v : window_) squares += (v - mean) * (v - mean);
  const double deviation = std::sqrt(squares / count);
  // Below that, the deviation is rounding.
  const bool scored = window_.size() >= kFewest && deviation > 1e-12 * std::abs(mean);

  if (window_.size() < kWindow) {
    window_.push_back(x);
  } else {
    window_[oldest_] = x;
    oldest_ = (oldest_ + 1) % kWindow;
  }
  return scored ? std::optional((x - mean) / deviation) : std::nullopt;
}

std::string log_line(const StepMetrics& m, const StepScores& scores, int64_t steps,
                     std::optional<double> eta_seconds) {
  std::string line = fmt::format(
      "step {}/{} | loss {:.4f}{} | norm {}{} | lr {:.1e} | {} | {} tok/s | mem {}", m.step, steps, m.loss,
      parenthesised(scores.loss), shown_norm(m.grad_norm), parenthesised(scores.grad_norm), m.lr,
      human_seconds(m.seconds), human_count(m.tokens_per_second), human_bytes(m.memory_bytes));
  if (!m.expert_load.empty()) line += fmt::format(" | experts {:.2f}", mean_load_entropy(m.expert_load));
  if (eta_seconds) line += fmt::format(" | eta {}", human_clock(*eta_seconds));
  return line;
}

}  // namespace natrix
