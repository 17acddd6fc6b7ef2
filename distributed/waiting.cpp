#include "distributed/waiting.h"

#include <algorithm>
#include <fmt/format.h>
#include <thread>

#include "distributed/pending.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int kEagerLooks = 100;

std::string place(int rank, const Watch& watch, std::string_view what, std::string_view axis) {
  return fmt::format("rank {}, step {}: {} ({})", rank, watch.step, what, axis);
}

}  // namespace

std::string lost_rank_message(int rank, const Watch& watch, std::string_view what, std::string_view axis,
                              const std::vector<int>& silent) {
  return fmt::format(
      "{} heard nothing from rank{} {} for {:g} s (parallel.timeout): lost, stopped, or busy with something "
      "else; the "
      "run ends and can go on from its last checkpoint",
      place(rank, watch, what, axis), silent.size() == 1 ? "" : "s", fmt::join(silent, ", "), watch.timeout);
}

std::string mismatch_message(int rank, const Watch& watch, std::string_view what, std::string_view axis,
                             int peer, int64_t got, int64_t due) {
  return fmt::format(
      "{}: rank {} sent {} bytes where {} were due: the ranks are not in the same place; do all of them run "
      "the same "
      "natrix with the same configuration?",
      place(rank, watch, what, axis), peer, got, due);
}

Patience::Patience(double timeout) : timeout_(timeout) {}

bool Patience::wait() {
  if (++looks_ <= kEagerLooks) {
    if (looks_ > kEagerLooks / 4) std::this_thread::yield();
    return true;
  }
  constexpr double kMostOfALook = 0.1;  // of the timeout; a longer gap means that this process did not run
  const Clock::time_point now = Clock::now();
  waited_ += std::min(std::chrono::duration<double>(now - last_look_).count(), kMostOfALook * timeout_);
  last_look_ = now;
  if (waited_ > timeout_) return false;
  std::this_thread::sleep_for(std::chrono::microseconds(std::min(10 * (looks_ - kEagerLooks), 500)));
  return true;
}

void wait_until(Watch& watch, const std::function<bool()>& poll, const std::function<std::string()>& lost) {
  Patience patience(watch.timeout);
  int64_t moved = watch.moved;
  while (!poll()) {
    std::erase_if(watch.under_way, [](Operation* other) { return other->poll(); });
    if (watch.moved != moved) {
      moved = watch.moved;
      patience = Patience(watch.timeout);
    } else if (!patience.wait()) {
      throw RunError(lost());
    }
  }
}

}  // namespace natrix
