// How a rank waits, and the messages of a rank that waited too long.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "distributed/transport.h"

namespace natrix {

/// "rank 2, step 17: all_reduce of 8192 bytes (dp) heard nothing from rank 3 for 300 s …". Ranks are
/// numbered as in the world.
std::string lost_rank_message(int rank, const Watch& watch, std::string_view what, std::string_view axis,
                              const std::vector<int>& silent);

/// "rank 2, step 17: all_reduce of 8192 bytes (dp): rank 3 sent 4 bytes where 8 were due …".
std::string mismatch_message(int rank, const Watch& watch, std::string_view what, std::string_view axis,
                             int peer, int64_t got, int64_t due);

/// Sleeps between two polls: not at all at first, then longer and longer, up to half a millisecond. Ranks may
/// share processors, and a spinning rank would keep the rank it waits for from running. Time in which this
/// process itself did not run hardly counts: after being stopped and continued, it would otherwise blame the
/// ranks that waited for it.
class Patience {
 public:
  explicit Patience(double timeout);
  /// Returns false once the timeout is over.
  bool wait();

 private:
  using Clock = std::chrono::steady_clock;

  double timeout_, waited_ = 0;  // seconds
  Clock::time_point last_look_ = Clock::now();
  int looks_ = 0;
};

/// Returns when `poll` returns true. Meanwhile advances all operations of this rank in flight. Throws
/// RunError with the message of `lost` after watch.timeout without progress.
void wait_until(Watch& watch, const std::function<bool()>& poll, const std::function<std::string()>& lost);

}  // namespace natrix
