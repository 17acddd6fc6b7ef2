#include "core/chat/limits.h"

#include <fmt/format.h>

namespace natrix::chat {

void Budget::step(int64_t count) {
  constexpr int64_t kBetweenLooks = 10'000;  // the clock costs more than a step
  steps_ += count;
  if (steps_ > kMostSteps) throw Fault(fmt::format("the template ran for more than {} steps", kMostSteps));
  if (steps_ < next_look_) return;
  next_look_ = steps_ + kBetweenLooks;
  if (std::chrono::steady_clock::now() > end_) {
    throw Fault(fmt::format("the template ran for more than {} s", kMostTime.count()));
  }
}

void Budget::bytes(size_t count) {
  if (count > kMostTextBytes) {
    throw Fault(fmt::format("a value of {} bytes; at most {} are allowed", count, kMostTextBytes));
  }
  bytes_ += static_cast<int64_t>(count);
  if (bytes_ > kMostBytes) {
    throw Fault(fmt::format("the template made strings and lists of more than {} bytes", kMostBytes));
  }
  step(static_cast<int64_t>(count / 256));
}

}  // namespace natrix::chat
