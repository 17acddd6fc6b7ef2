// StopSignal: SIGTERM, SIGINT, SIGUSR1 and SIGHUP ask a run to save and stop; the step in hand is finished
// first. A second SIGINT ends the program at once. A SIGHUP that was ignored stays ignored, as nohup wants
// it. While an object lives it holds the handlers; one at a time.
#pragma once

#include <array>
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
  static constexpr std::array kSignals = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};

  std::array<struct sigaction, kSignals.size()> before_ = {};
};

inline constexpr int kExitStopped = 75;  // EX_TEMPFAIL: start the same command again and it goes on

}  // namespace natrix
