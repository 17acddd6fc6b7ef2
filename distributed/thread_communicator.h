// Ranks as threads of one process: for tests (also under ThreadSanitizer) and for natrix verify.
#pragma once

#include <functional>

#include "distributed/transport.h"

namespace natrix {

/// Runs body on `ranks` threads, each with a transport to the others, and returns when all have ended. If one
/// throws, calls of the others fail with RunError, and the first exception is rethrown here.
void run_ranks(int ranks, double timeout, const std::function<void(Transport& world)>& body);

}  // namespace natrix
