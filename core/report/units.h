// Figures as a person reads them.
#pragma once

#include <cstdint>
#include <string>

namespace natrix {

/// 812 · 10.1k · 3.4M · 1.2G: steps of 1000; below 1000 at most three significant digits.
/// "nan" and "inf" as such.
std::string human_count(double count);
/// 312 B · 1.2 GiB: steps of 1024.
std::string human_bytes(int64_t bytes);
/// 0.42 ms · 812 ms · 12.3 s: how long a step took.
std::string human_seconds(double seconds);
/// 0:07 · 12:04 · 1:02:03: how long to wait. "?" for what is no duration.
std::string human_clock(double seconds);

}  // namespace natrix
