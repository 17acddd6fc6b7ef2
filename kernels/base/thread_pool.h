// ThreadPool: the threads of a Context. Work is cut into numbered tasks that threads claim one by one.
//
// An idle thread spins for some microseconds, the time between two kernels, and then sleeps. The caller of
// run() works too and never waits for a thread that has not claimed a task. If other programs use the
// processors, a late thread costs its help and nothing more.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace natrix {

class ThreadPool {
 public:
  /// The caller of run() counts as one of the `threads`.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Calls task(i) once for every i in [0, count) and returns when all calls have ended. task must not throw
  /// and must not call run(). Only one caller at a time.
  void run(int64_t count, const std::function<void(int64_t)>& task);

 private:
  void serve();
  void work();

  const std::function<void(int64_t)>* task_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_{0};  // next task to claim
  std::atomic<uint32_t> opened_;  // number of jobs so far; a change wakes the threads
  std::atomic<uint32_t> inside_;  // threads within a job; the top bit is set while no job is open
  std::atomic<bool> ending_{false};
  std::vector<std::thread> threads_;
};

}  // namespace natrix
