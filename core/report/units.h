// Formats figures for people.
#pragma once

#include <cstdint>
#include <string>

namespace natrix {

/// 812 · 10.1k · 3.4M · 1.2G, in powers of 1000. Below 1000 at most three significant digits. "nan" and "inf"
/// stay as they are.
std::string human_count(double count);
/// 312 B · 1.2 GiB, in powers of 1024.
std::string human_bytes(int64_t bytes);
/// 0.42 ms · 812 ms · 12.3 s, for the time of a step.
std::string human_seconds(double seconds);
/// 0:07 · 12:04 · 1:02:03, for a remaining time. "?" if `seconds` is not a duration.
std::string human_clock(double seconds);

}  // namespace natrix
