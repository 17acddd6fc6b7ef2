// The other end of a named pipe, on a thread of its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <thread>
#include <unistd.h>

namespace natrix::test {

/// Reads until the writer leaves, or until it has `most` bytes. The pipe is open when the constructor
/// returns.
class PipeReader {
 public:
  explicit PipeReader(const std::string& path, size_t most = SIZE_MAX)
      : fd_(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)),
        thread_([this, most] { read_all(most); }) {}
  ~PipeReader() { end(); }
  PipeReader(const PipeReader&) = delete;
  PipeReader& operator=(const PipeReader&) = delete;

  /// What came, when the writer is done. A writer that never came is not waited for.
  std::string text() {
    end();
    return text_;
  }

 private:
  void read_all(size_t most) {
    char piece[4096];
    while (text_.size() < most) {
      pollfd ready = {.fd = fd_, .events = POLLIN, .revents = 0};
      if (poll(&ready, 1, 20) == 0) {
        if (ended_) break;
        continue;
      }
      const ssize_t got = read(fd_, piece, std::min(sizeof piece, most));
      if (got <= 0) break;
      text_.append(piece, static_cast<size_t>(got));
    }
    close(fd_);
  }
  void end() {
    ended_ = true;
    if (thread_.joinable()) thread_.join();
  }

  std::string text_;
  std::atomic<bool> ended_ = false;
  int fd_;
  std::thread thread_;
};

}  // namespace natrix::test
