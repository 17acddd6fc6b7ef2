#include "core/report/memory.h"

#include <fstream>
#include <string>

#include "kernels/base/build.h"
#include "kernels/cuda/device.h"

namespace natrix {
namespace {

// Lines read "VmRSS:	  123456 kB".
int64_t status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name; std::getline(status, name)) {
    if (int64_t kib = 0; name == field && status >> kib) return kib * 1024;
  }
  return 0;
}

}  // namespace

int64_t resident_bytes() {
  return status_bytes("VmRSS:");
}
int64_t peak_resident_bytes() {
  return status_bytes("VmHWM:");
}

int64_t peak_memory_bytes(const Context& ctx) {
  if constexpr (build::kCuda) {
    if (ctx.backend() == Backend::kCuda) return cuda::peak_bytes();
  }
  return peak_resident_bytes();
}

void reset_peak_resident() {
  std::ofstream("/proc/self/clear_refs") << "5";  // see proc(5)
}

}  // namespace natrix
