// The words of a rank that waited too long, and how it waits.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "distributed/transport.h"

namespace natrix {

/// "rank 2, step 17: all_reduce of 8192 bytes (dp) heard nothing from rank 3 for 300 s …". Ranks are those of
/// the world.
std::string lost_rank_message(int rank, const Watch& watch, std::string_view what, std::string_view axis,
                              const std::vector<int>& silent);

/// "rank 2, step 17: all_reduce of 8192 bytes (dp): rank 3 sent 4 bytes where 8 were due …".
std::string mismatch_message(int rank, const Watch& watch, std::string_view what, std::string_view axis,
                             int peer, int64_t got, int64_t due);

/// Sleeps between two looks at something that is not there yet: not at all at first, then ever longer, to
/// half a millisecond. Ranks may share processors, so that a spinning one would keep from work the very rank
/// it waits for. Time in which this rank did not run itself hardly counts: one that was stopped and goes on
/// would else blame the ranks that waited for it.
class Patience {
 public:
  explicit Patience(double timeout);
  /// False once the timeout is over.
  bool wait();

 private:
  using Clock = std::chrono::steady_clock;

  double timeout_, waited_ = 0;  // seconds
  Clock::time_point last_look_ = Clock::now();
  int looks_ = 0;
};

/// Returns when `poll` says that it has ended, and meanwhile moves on all that this rank has under way.
/// RunError in the words of `lost` after watch.timeout in which nothing moved.
void wait_until(Watch& watch, const std::function<bool()>& poll, const std::function<std::string()>& lost);

}  // namespace natrix
