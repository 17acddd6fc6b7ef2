// Copies between pageable memory of the host and the device, by way of pinned memory: what goes up does not
// wait for anything, what comes down waits once, for all that was asked of the stream before.
#pragma once

#include <cuda_runtime.h>
#include <vector>

#include "kernels/base/view.h"

namespace natrix::cuda {

class Staging {
 public:
  Staging() = default;
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// In the order of the stream; returns once `from` has been read.
  void upload(cudaStream_t stream, View from, View to);
  /// Returns once `to` has been written.
  void download(cudaStream_t stream, View from, View to);

 private:
  static constexpr size_t kSlots = 64, kSlotBytes = size_t{128} << 10;
  struct Slot {
    char* memory = nullptr;
    cudaEvent_t done = nullptr;  // the device has read, or written, what it holds
  };
  Slot& take();

  std::vector<Slot> slots_;  // in turn
  size_t next_ = 0;
};

}  // namespace natrix::cuda
