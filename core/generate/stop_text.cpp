#include "core/generate/stop_text.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"

namespace natrix {
namespace {

/// The length of the longest end of `text` with which `stop` begins, without being complete.
size_t begun(std::string_view text, std::string_view stop) {
  size_t length = std::min(text.size(), stop.size() - 1);
  while (length > 0 && !text.ends_with(stop.substr(0, length))) --length;
  return length;
}

}  // namespace

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  if (std::ranges::find(stops_, "") != stops_.end())
    throw InputError("a stop string is empty; give at least one character");
  std::ranges::stable_sort(stops_, std::greater(), &std::string::size);
}

std::string StopText::push(std::string_view piece) {
  if (!found_.empty()) return "";
  held_ += piece;
  size_t first_end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos || at + stop.size() >= first_end) continue;
    first_end = at + stop.size();
    found_ = stop;
  }
  if (!found_.empty()) return std::exchange(held_, {}).substr(0, first_end - found_.size());
  size_t waiting = 0;
  for (const std::string& stop : stops_) waiting = std::max(waiting, begun(held_, stop));
  const size_t certain = held_.size() - waiting;
  std::string text = held_.substr(0, certain);
  held_.erase(0, certain);
  return text;
}

std::string StopText::finish() {
  return std::exchange(held_, {});
}

}  // namespace natrix
