#include "launch/standard_streams.h"

#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "core/report/say.h"

namespace natrix {
namespace {

bool stdout_has_lost_its_reader() {
  pollfd out{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  return poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

}  // namespace

void guard_standard_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest free descriptor is fd. It is opened in the wrong mode, so that writing results to it fails.
    if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
  }
}

int flush_results(int status) {
  constexpr int kFailed = 1;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  if (!stdout_has_lost_its_reader())
    say("natrix: standard output cannot be written; is it closed, or its disk full?\n");
  return status == 0 ? kFailed : status;
}

}  // namespace natrix
