#include "core/report/progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <vector>

#include "core/report/say.h"
#include "core/report/units.h"

namespace natrix {
namespace {

constexpr double kSilence = 1;        // seconds before a task is worth mentioning
constexpr double kBetweenBars = 0.1;  // seconds
constexpr double kBetweenLines = 10;
constexpr const char* kEraseLine = "\r\033[2K";
constexpr int kWidestBar = 40, kNarrowestBar = 8;

std::string_view environment(const char* name) {
  const char* set = std::getenv(name);
  return set != nullptr ? set : "";
}

bool utf8_locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {  // the first that is set decides
    if (const auto locale = environment(name); !locale.empty()) {
      return locale.find("UTF-8") != locale.npos || locale.find("utf8") != locale.npos;
    }
  }
  return false;
}

ProgressStyle stderr_style() {
  if (::isatty(STDERR_FILENO) == 0 || environment("TERM") == "dumb") return {};
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return {.width = known ? size.ws_col : 80,
          .color = environment("NO_COLOR").empty(),  // https://no-color.org: any value but the empty one
          .unicode = utf8_locale()};
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double fraction(const ProgressState& s) {
  return std::clamp(static_cast<double>(s.done) / static_cast<double>(s.total), 0.0, 1.0);
}

double rate(const ProgressState& s) {
  return s.seconds > 0 ? static_cast<double>(s.done) / s.seconds : 0;
}

std::string percent(const ProgressState& s) {
  return fmt::format("{:.0f}%", std::floor(100 * fraction(s)));  // 100 means done
}

std::string counted(const ProgressState& s) {
  const std::string done = human_count(static_cast<double>(s.done));
  if (s.total == 0) return fmt::format("{} {}", done, s.unit);
  return fmt::format("{}/{} {}", done, human_count(static_cast<double>(s.total)), s.unit);
}

std::string speed(const ProgressState& s) {
  return fmt::format("{} {}/s", human_count(rate(s)), s.unit);
}

std::string remaining(const ProgressState& s) {
  return fmt::format("eta {}", human_clock(static_cast<double>(s.total - s.done) / rate(s)));
}

std::string repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

std::string bar(double full, int columns, const ProgressStyle& style) {
  const int filled = static_cast<int>(full * columns);
  const std::string done = repeated(style.unicode ? "━" : "#", filled);
  const std::string rest = repeated(style.unicode ? (style.color ? "━" : "╌") : ".", columns - filled);
  if (!style.color) return done + rest;
  return fmt::format("\033[36m{}\033[0;2m{}\033[0m", done, rest);  // cyan, then faint
}

}  // namespace

std::string render_bar(const ProgressState& s, const ProgressStyle& style) {
  std::vector<std::string> figures;
  if (s.total > 0) figures.push_back(fmt::format("{:>4}", percent(s)));
  figures.push_back(counted(s));
  figures.push_back(speed(s));
  if (s.total > 0) figures.push_back(remaining(s));

  const int room = style.width - 1;
  std::string text(s.task.substr(0, static_cast<size_t>(std::max(0, room))));
  const auto columns_of = [](const std::string& t) { return static_cast<int>(t.size()); };
  int figures_width = 0;
  for (const auto& f : figures) figures_width += 2 + columns_of(f);
  const int bar_width = std::min(kWidestBar, room - columns_of(text) - figures_width - 2);
  const bool with_bar = s.total > 0 && bar_width >= kNarrowestBar;
  int used = columns_of(text);
  if (with_bar) {
    text += "  " + bar(fraction(s), bar_width, style);
    used += 2 + bar_width;
  }
  for (const auto& f : figures) {
    used += 2 + columns_of(f);
    if (used > room) break;
    text += "  " + f;
  }
  return text;
}

std::string render_line(const ProgressState& s) {
  if (s.total == 0) return fmt::format("{}: {}, {}", s.task, counted(s), speed(s));
  if (s.done >= s.total)
    return fmt::format("{}: {} in {}, {}", s.task, counted(s), human_clock(s.seconds), speed(s));
  return fmt::format("{}: {} ({}), {}, {}", s.task, percent(s), counted(s), speed(s), remaining(s));
}

ProgressOutput progress_on_stderr() {
  return {.write = say, .now = steady_seconds, .style = stderr_style};
}

Progress::Progress(std::string task, int64_t total, std::string unit, ProgressOptions options,
                   ProgressOutput output)
    : task_(std::move(task)),
      unit_(std::move(unit)),
      total_(total),
      quiet_(options.quiet),
      output_(std::move(output)),
      begun_(output_.now()),
      next_(begun_ + kSilence) {}

Progress::~Progress() {
  if (bar_on_screen_) output_.write(kEraseLine);
  if (!lines_shown_ || (total_ > 0 && done_ < total_))
    return;  // nothing to conclude, or left by an exception
  output_.write(render_line({task_, unit_, done_, total_, output_.now() - begun_}) + '\n');
}

void Progress::advance(int64_t units) {
  done_ += units;
  if (quiet_) return;
  if (const double now = output_.now(); now >= next_) show(now);
}

void Progress::show(double now) {
  const ProgressState state{task_, unit_, done_, total_, now - begun_};
  const ProgressStyle style = output_.style();
  if (style.width > 0) {
    output_.write(kEraseLine + render_bar(state, style));
    bar_on_screen_ = true;
    next_ = now + kBetweenBars;
  } else {
    if (total_ == 0 || done_ < total_)
      output_.write(render_line(state) + '\n');  // the last line is the destructor's
    lines_shown_ = true;
    next_ = now + kBetweenLines;
  }
}

}  // namespace natrix
