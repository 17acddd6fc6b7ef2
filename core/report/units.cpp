#include "core/report/units.h"

#include <cmath>
#include <fmt/format.h>

namespace natrix {
namespace {

// One decimal turns 999.95 into "1000.0": the next unit begins where that rounding does.
constexpr double kRoundsUp = 0.05;

}  // namespace

std::string human_count(double count) {
  if (!std::isfinite(count)) return fmt::format("{}", count);
  if (std::abs(count) < 999.5) return fmt::format("{:.3g}", count);
  const char* unit = "kMGTPE";
  count /= 1000;
  while (std::abs(count) >= 1000 - kRoundsUp && unit[1] != '\0') {
    count /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f}{}", count, *unit);
}

std::string human_bytes(int64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  const char* unit = "KMGTPE";
  double count = static_cast<double>(bytes) / 1024;
  while (count >= 1024 - kRoundsUp && unit[1] != '\0') {
    count /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}iB", count, *unit);
}

std::string human_seconds(double seconds) {
  if (!std::isfinite(seconds)) return fmt::format("{} s", seconds);
  if (seconds < 0.00995) return fmt::format("{:.2f} ms", seconds * 1e3);
  if (seconds < 9.9995) return fmt::format("{:.0f} ms", seconds * 1e3);
  return fmt::format("{:.1f} s", seconds);
}

std::string human_clock(double seconds) {
  constexpr double kLongest = 1e12;  // 30,000 years; beyond it a rate has not been measured yet
  if (!(seconds >= 0 && seconds < kLongest)) return "?";
  const auto s = static_cast<int64_t>(std::llround(seconds));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace natrix
