// Context: where a kernel runs (backend, threads) and where its scratch memory comes from. Every kernel
// receives one; it has no global state. Use one context per thread of control.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/base/arena.h"
#include "kernels/base/ledger.h"

namespace natrix {

class ThreadPool;
namespace cuda {
class Device;
}

/// kDry computes nothing: kernels check their arguments and count their cost, and tensors have addresses but
/// no memory.
enum class Backend { kReference, kCpu, kCuda, kDry };

const char* name_of(Backend backend);
/// The memory that holds a backend's tensors.
Memory memory_of(Backend backend);

class Context {
 public:
  /// threads 0: one for each processor that this process may use. place: index of this process among those of
  /// its machine; processes take the machine's devices in turn. Throws InputError if this build or this
  /// machine lacks the backend.
  explicit Context(Backend backend, int threads = 0, int place = 0);
  /// A dry run as if on backend `like`, which decides what is kept and which scratch is taken.
  struct Dry {
    Backend like = Backend::kCpu;
  };
  explicit Context(Dry dry);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Backend backend() const { return backend_; }
  bool dry() const { return backend_ == Backend::kDry; }
  /// The backend whose shapes of scratch and of what is kept count here: backend(), or what a dry run is
  /// like.
  Backend like() const { return like_; }
  /// Of a dry run.
  Ledger& ledger() { return ledger_; }
  int threads() const { return threads_; }
  Memory memory() const { return memory_of(backend_); }
  /// Allocates in memory().
  Arena& arena() { return arena_; }
  /// The stream and the library handles of backend cuda.
  cuda::Device& device() const;
  /// The thread pool, started on first use.
  ThreadPool& pool();

 private:
  Backend backend_, like_;
  int threads_;
  std::shared_ptr<cuda::Device> device_;
  Arena arena_;
  Ledger ledger_;
  std::unique_ptr<ThreadPool> pool_;
};

/// Processors this process may use (its affinity mask and, in a container, its quota).
int available_processors();

/// Called by dispatch when no implementation exists. Throws InputError naming the backend and the operation.
[[noreturn]] void fail_unavailable(const Context& ctx, std::string_view operation);

}  // namespace natrix
