// Progress: shows on stderr how far a long task is.
//
//   Progress progress("reading", tokens, "tokens", {.quiet = flags.quiet});
//   schedule.read(…, [&](…) { progress.advance(chunk); });      // gone when `progress` ends
//
// A terminal shows a bar, which is redrawn at most ten times a second and removed at the end. Elsewhere, and
// if TERM is dumb, there is a plain line at most every ten seconds and one at the end. A task that ends
// within a second shows nothing. NO_COLOR is honoured. Each advance() reads the clock once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace natrix {

struct ProgressStyle {
  int width = 0;  // columns of the terminal; 0: lines, not a bar
  bool color = false;
  bool unicode = false;  // the terminal shows UTF-8
};

/// Where progress is shown. Tests supply their own.
struct ProgressOutput {
  std::function<void(std::string_view)> write;
  std::function<double()> now;           // monotonic seconds
  std::function<ProgressStyle()> style;  // called before each drawing, because windows change size
};
ProgressOutput progress_on_stderr();

struct ProgressOptions {
  bool quiet = false;
};

class Progress {
 public:
  /// `total` = 0: not known beforehand, so there is no bar and no remaining time.
  Progress(std::string task, int64_t total, std::string unit, ProgressOptions options = {},
           ProgressOutput output = progress_on_stderr());
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(int64_t units);

 private:
  void show(double now);

  std::string task_, unit_;
  int64_t total_, done_ = 0;
  bool quiet_;
  ProgressOutput output_;
  double begun_, next_;  // start time; earliest time of the next drawing
  bool bar_on_screen_ = false, lines_shown_ = false;
};

/// What a task looks like after `seconds`.
struct ProgressState {
  std::string_view task, unit;
  int64_t done = 0, total = 0;
  double seconds = 0;
};
/// At most width − 1 columns, so that the cursor never wraps. If space is short, the bar is dropped first,
/// then figures from the right.
std::string render_bar(const ProgressState& state, const ProgressStyle& style);
std::string render_line(const ProgressState& state);

}  // namespace natrix
