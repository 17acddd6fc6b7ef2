// A library that installs a handler for SIGHUP when it is loaded, before main, as UCX does.
#include <csignal>

namespace {

[[gnu::constructor]] void take_hangup() {
  std::signal(SIGHUP, [](int) {});
}

}  // namespace
