// StopSignal: SIGTERM, SIGINT, SIGUSR1 and SIGHUP ask a run to finish the current step, save and stop. A
// second SIGINT ends the program at once. If SIGHUP was ignored before, as under nohup, it stays ignored. The
// handlers are installed during the object's life. At most one object may exist.
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

  /// The signal that was received, or 0.
  int received() const;

 private:
  static constexpr std::array kSignals = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};

  std::array<struct sigaction, kSignals.size()> before_ = {};
};

inline constexpr int kExitStopped = 75;  // EX_TEMPFAIL: start the same command again and it goes on

}  // namespace natrix
