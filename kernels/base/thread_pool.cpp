#include "kernels/base/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace natrix {
namespace {

constexpr uint32_t kClosed = uint32_t{1} << 31;
constexpr int kSpins = 2000;  // some 20–50 µs

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

/// Returns once value != old.
uint32_t await_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) : opened_(0), inside_(kClosed) {
  for (int i = 1; i < threads; ++i) threads_.emplace_back([this] { serve(); });
}

ThreadPool::~ThreadPool() {
  ending_.store(true);
  opened_.fetch_add(1);
  opened_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void ThreadPool::run(int64_t count, const std::function<void(int64_t)>& task) {
  task_ = &task;
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  inside_.fetch_and(~kClosed, std::memory_order_release);
  opened_.fetch_add(1, std::memory_order_release);
  opened_.notify_all();
  work();
  uint32_t inside = inside_.fetch_or(kClosed, std::memory_order_acq_rel) | kClosed;
  while (inside != kClosed) inside = await_change(inside_, inside);
}

void ThreadPool::serve() {
  for (uint32_t seen = 0;;) {
    seen = await_change(opened_, seen);
    if (ending_.load()) return;
    const bool open = (inside_.fetch_add(1, std::memory_order_acq_rel) & kClosed) == 0;
    if (open) work();
    if (inside_.fetch_sub(1, std::memory_order_acq_rel) == (kClosed | 1)) inside_.notify_all();
  }
}

void ThreadPool::work() {
  for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) (*task_)(i);
}

}  // namespace natrix
