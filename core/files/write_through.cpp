#include "core/files/write_through.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace natrix {
namespace {

/// While an object lives, a write into a pipe without a reader fails with EPIPE and raises no signal.
class NoBrokenPipeSignal {
 public:
  NoBrokenPipeSignal() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoBrokenPipeSignal() {
    const timespec now = {};
    while (sigtimedwait(&pipe_, nullptr, &now) < 0 && errno == EINTR) continue;  // takes a pending one
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoBrokenPipeSignal(const NoBrokenPipeSignal&) = delete;
  NoBrokenPipeSignal& operator=(const NoBrokenPipeSignal&) = delete;

 private:
  sigset_t pipe_, before_;
};

int write_all(int fd, const char* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = ::write(fd, data, bytes);
    if (written < 0 && errno == EAGAIN) {  // another process may have made the descriptor non-blocking
      pollfd ready = {.fd = fd, .events = POLLOUT, .revents = 0};
      ::poll(&ready, 1, -1);
      continue;
    }
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return EIO;
    data += written;
    bytes -= static_cast<size_t>(written);
  }
  return 0;
}

}  // namespace

int open_temporary(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  std::string name = folder + "/natrix-XXXXXX";
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

int open_stream(const std::string& path, const std::function<void()>& waits) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kPatience = std::chrono::seconds(10);
  const auto begin = Clock::now();
  struct stat status = {};
  int fd = -1;
  for (bool said = false;; said = true) {
    fd = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    const int error = errno;
    const bool alone =
        fd < 0 && error == ENXIO && ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
    const bool late = alone && Clock::now() - begin > kPatience;
    errno = late ? ETIMEDOUT : error;
    if (!alone || late) break;
    if (!said) waits();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (fd < 0) return fd;
  if (::fstat(fd, &status) != 0 || !(S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))) {
    ::close(fd);
    errno = EEXIST;  // something else has taken its place
    return -1;
  }
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}

int copy_all(int file, int to) {
  const NoBrokenPipeSignal quiet;
  constexpr int64_t kAtOnce = int64_t{1} << 20;
  std::vector<char> piece(static_cast<size_t>(kAtOnce));
  for (off_t at = 0;;) {
    const ssize_t got = ::pread(file, piece.data(), piece.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return 0;
    if (const int error = write_all(to, piece.data(), static_cast<size_t>(got)); error != 0) return error;
    at += got;
  }
}

}  // namespace natrix
