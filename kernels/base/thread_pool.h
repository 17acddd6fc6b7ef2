// ThreadPool: the threads of a Context. Work is cut into numbered tasks that threads claim one by one.
//
// A thread that finds no work spins for some microseconds, the time between two kernels, and then sleeps. The
// caller works too and never waits for a thread that has not claimed a task: on a machine whose processors
// others use as well, a late thread costs its help and nothing more.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace natrix {

class ThreadPool {
 public:
  /// The caller of run() is one of the `threads`.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Calls task(i) for every i in [0, count), each once, and returns when all have ended. task must not
  /// throw, nor call run() again. One caller at a time.
  void run(int64_t count, const std::function<void(int64_t)>& task);

 private:
  void serve();
  void work();

  const std::function<void(int64_t)>* task_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_{0};  // task to be claimed
  std::atomic<uint32_t> opened_;  // how many jobs there have been: changes wake the threads
  std::atomic<uint32_t> inside_;  // threads within a job; the top bit is set while none is open
  std::atomic<bool> ending_{false};
  std::vector<std::thread> threads_;
};

}  // namespace natrix
