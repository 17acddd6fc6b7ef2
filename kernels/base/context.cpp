#include "kernels/base/context.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <sched.h>

#include "kernels/base/build.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cuda/device.h"

namespace natrix {

const char* name_of(Backend backend) {
  switch (backend) {
    case Backend::kReference: return "reference";
    case Backend::kCpu: return "cpu";
    case Backend::kCuda: return "cuda";
    case Backend::kDry: return "dry";
  }
  return "?";
}

Memory memory_of(Backend backend) {
  switch (backend) {
    case Backend::kCuda: return Memory::kDevice;
    case Backend::kDry: return Memory::kDry;
    default: return Memory::kHost;
  }
}

int available_processors() {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  std::ifstream quota("/sys/fs/cgroup/cpu.max");  // "max 100000" or "200000 100000"
  double limit = 0, period = 0;
  if (quota >> limit >> period && limit > 0 && period > 0) {
    n = std::min(n, static_cast<int>(std::ceil(limit / period)));
  }
  return std::max(n, 1);
}

Context::Context(Backend backend, int threads, [[maybe_unused]] int place)
    : backend_(backend),
      like_(backend == Backend::kDry ? Backend::kCpu : backend),
      threads_(threads > 0 ? threads : available_processors()),
      arena_(memory()) {
  if (backend != Backend::kCuda) return;
  if constexpr (build::kCuda) {
    device_ = cuda::open_device(place);
  } else {
    fail_unavailable(*this, "--backend cuda");
  }
}

Context::Context(Dry dry) : backend_(Backend::kDry), like_(dry.like), threads_(1), arena_(memory()) {
  require(dry.like != Backend::kDry, "a dry run is like one that computes");
}

Context::~Context() = default;

cuda::Device& Context::device() const {
  require(device_ != nullptr, "only backend cuda has a device");
  return *device_;
}

ThreadPool& Context::pool() {
  if (!pool_) pool_ = std::make_unique<ThreadPool>(threads_);
  return *pool_;
}

void fail_unavailable(const Context& ctx, std::string_view operation) {
  throw InputError(
      fmt::format("{}: this build of natrix has no {} backend; use --backend cpu (or device.backend: cpu)",
                  operation, name_of(ctx.backend())));
}

}  // namespace natrix
