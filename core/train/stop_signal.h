// StopSignal: SIGTERM, SIGINT and SIGUSR1 ask a run to save and stop; the step in hand is finished first.
// A second SIGINT ends the program at once. While an object lives it holds the handlers; one at a time.
#pragma once

#include <csignal>

namespace natrix {

class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// The signal that asked, or 0.
  int received() const;

 private:
  struct sigaction terminate_, interrupt_, user_;
};

inline constexpr int kExitStopped = 75;  // EX_TEMPFAIL: start the same command again and it goes on

}  // namespace natrix
