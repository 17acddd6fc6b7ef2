#include "launch/ignored_hangup.h"

#include <csignal>

namespace natrix {
namespace {

bool g_ignored = false;  // set once, before any constructor or thread

#if defined(__linux__) && defined(__ELF__)
void read_disposition(int, char**, char**) {
  struct sigaction action = {};
  g_ignored = sigaction(SIGHUP, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

// The loader runs an executable's .preinit_array before the constructors of its libraries.
[[gnu::section(".preinit_array"), gnu::used]] void (*const g_read_disposition)(int, char**,
                                                                               char**) = read_disposition;
#endif

}  // namespace

void restore_ignored_hangup() {
  if (g_ignored) std::signal(SIGHUP, SIG_IGN);
}

}  // namespace natrix
