// Context: where a kernel runs (backend, threads) and where its scratch comes from. Passed to every kernel;
// nothing of it is global. One context per thread of control.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/base/arena.h"

namespace natrix {

class ThreadPool;

enum class Backend { kReference, kCpu, kCuda };

const char* name_of(Backend backend);

class Context {
 public:
  /// threads 0: as many as the processors this process may use.
  explicit Context(Backend backend, int threads = 0);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Backend backend() const { return backend_; }
  int threads() const { return threads_; }
  Arena& arena() { return arena_; }
  /// The threads, started when first asked for.
  ThreadPool& pool();

 private:
  Backend backend_;
  int threads_;
  Arena arena_;
  std::unique_ptr<ThreadPool> pool_;
};

/// Processors this process may use (its affinity mask and, in a container, its quota).
int available_processors();

/// Ends a dispatch that found no implementation: InputError naming the backend and the operation.
[[noreturn]] void fail_unavailable(const Context& ctx, std::string_view operation);

}  // namespace natrix
