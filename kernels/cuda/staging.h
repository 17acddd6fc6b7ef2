// Copies between pageable host memory and the device, through pinned memory. An upload does not wait for the
// device. A download waits once, for all earlier work of the stream.
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

  /// Ordered with the stream. Returns once `from` has been read.
  void upload(cudaStream_t stream, View from, View to);
  /// Returns once `to` has been written.
  void download(cudaStream_t stream, View from, View to);

 private:
  static constexpr size_t kSlots = 64, kSlotBytes = size_t{128} << 10;
  struct Slot {
    char* memory = nullptr;
    cudaEvent_t done = nullptr;  // the device has read or written the slot
  };
  Slot& take();

  std::vector<Slot> slots_;  // used in turn
  size_t next_ = 0;
};

}  // namespace natrix::cuda
