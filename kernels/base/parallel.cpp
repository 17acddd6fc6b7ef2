#include "kernels/base/parallel.h"

#include <algorithm>
#include <exception>
#include <mutex>

#if defined(__SANITIZE_THREAD__)
#include <atomic>
#include <thread>
#include <vector>
#endif

namespace natrix {
namespace {

/// Runs work(block) for every block. ThreadSanitizer cannot see the OpenMP runtime's own barriers and would
/// report each of them as a race, so its builds use plain threads.
template <class Work>
void run_blocks(int threads, int64_t blocks, const Work& work) {
#if defined(__SANITIZE_THREAD__)
  std::atomic<int64_t> next{0};
  auto drain = [&] {
    for (int64_t b; (b = next.fetch_add(1)) < blocks;) work(b);
  };
  std::vector<std::thread> pool;
  for (int i = 1; i < threads; ++i) pool.emplace_back(drain);
  drain();
  for (auto& t : pool) t.join();
#else
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t b = 0; b < blocks; ++b) work(b);
#endif
}

}  // namespace

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
  run_blocks(ctx.threads(), blocks, [&](int64_t b) {
    try {
      body(b * grain, std::min(count, (b + 1) * grain));
    } catch (...) {
      std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

}  // namespace natrix
