#include "kernels/base/parallel.h"

#include <algorithm>
#include <exception>
#include <mutex>

#include "kernels/base/thread_pool.h"

namespace natrix {

void parallel_for(Context& ctx, int64_t count, int64_t grain,
                  const std::function<void(int64_t, int64_t)>& body) {
  require(grain > 0, "parallel_for needs a grain of at least one");
  const int64_t blocks = (count + grain - 1) / grain;
  if (blocks <= 1 || ctx.threads() == 1) {
    for (int64_t b = 0; b < blocks; ++b) body(b * grain, std::min(count, (b + 1) * grain));
    return;
  }
  std::exception_ptr failure;
  std::mutex failure_mutex;
  ctx.pool().run(blocks, [&](int64_t b) {
    try {
      body(b * grain, std::min(count, (b + 1) * grain));
    } catch (...) {
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

}  // namespace natrix
