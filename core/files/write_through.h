// Writes into outputs that cannot be replaced: pipes, devices and open descriptors.
#pragma once

#include <functional>
#include <string>

namespace natrix {

/// Opens an unnamed file in `folder`, which disappears when its descriptor closes. −1 and errno on failure.
int open_temporary(const std::string& folder);

/// Opens a pipe or a character device for writing. −1 and errno if it is neither or cannot be opened. If a
/// pipe has no reader, calls `waits` once and waits ten seconds for one, then fails with ETIMEDOUT.
int open_stream(const std::string& path, const std::function<void()>& waits);

/// Copies a whole file to the current offset of `to`. Returns 0 or an errno. If the reader of a pipe has
/// gone, returns EPIPE and raises no SIGPIPE.
int copy_all(int file, int to);

}  // namespace natrix
