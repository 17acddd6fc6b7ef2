// Within the emulation only.
#pragma once

#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include "cuda_runtime.h"

namespace cuda_emulation {

constexpr int kPoison = 0xff;  // of memory that nobody has written: NaN as a float, −1 as an integer

/// What a kernel did that hardware would not have forgiven.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Runs one block to its end. Throws Failure.
void run_block(const std::function<void()>& kernel, int threads, size_t shared_bytes,
               std::mt19937_64& random);

/// Device memory can be touched while one of these is alive, and at no other time: a host that reads a device
/// pointer ends with a message.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};
bool is_device_memory(const void* p);
/// A description of the first allocation that was written beyond its end, or "".
std::string overrun();

/// Whether cudaMallocHost gave it.
bool is_pinned_memory(const void* p);
/// Counts one more of host_waits().
void note_wait();

/// Work that is not done when its call returns: a collective.
class Deferred {
 public:
  virtual ~Deferred() = default;
  /// Does it if it can be done; with `wait` it waits for that, as long as set_nccl_patience says. True once
  /// it is done, or given up.
  virtual bool done(bool wait) = 0;
};
/// Puts it on a stream, which belongs to one thread.
void defer(cudaStream_t stream, std::shared_ptr<Deferred> work);

/// Whether what is asked of `stream` is kept for a graph at the moment: then `work` is, and the caller leaves
/// it undone. It owns its arguments.
bool keep_for_graph(cudaStream_t stream, std::function<cudaError_t()> work);
/// For what a graph cannot hold: ends the recording of this thread's stream with an error that names the
/// call, where there is one.
cudaError_t refuse_in_graph(const char* call);

/// Remembered until cudaGetLastError.
cudaError_t fail(cudaError_t error, const std::string& what);

}  // namespace cuda_emulation
