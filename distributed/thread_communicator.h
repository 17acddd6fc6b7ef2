// Ranks that are threads of one process: for tests (under ThreadSanitizer, too) and for natrix verify.
#pragma once

#include <functional>

#include "distributed/transport.h"

namespace natrix {

/// Runs body on `ranks` threads, each with a transport to the others, and returns when all have ended. When
/// one throws, the others' calls end in a RunError, and the first exception is thrown here.
void run_ranks(int ranks, double timeout, const std::function<void(Transport& world)>& body);

}  // namespace natrix
