// Writing into what cannot be replaced: pipes, devices, open descriptors.
#pragma once

#include <functional>
#include <string>

namespace natrix {

/// A file in `folder` that has no name any more: it goes with its descriptor. −1 and errno if there is none.
int open_temporary(const std::string& folder);

/// Opens a pipe or a character device for writing; −1 and errno if it cannot be, or is neither. A pipe
/// without a reader is waited for ten seconds, then ETIMEDOUT; `waits` is called once before.
int open_stream(const std::string& path, const std::function<void()>& waits);

/// Copies a whole file to where `to` stands. Returns 0 or an errno: EPIPE where a reader has gone away, which
/// is no SIGPIPE here.
int copy_all(int file, int to);

}  // namespace natrix
