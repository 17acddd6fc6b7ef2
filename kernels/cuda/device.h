// The device of backend cuda, without CUDA's headers. Declared in every build, defined where CUDA is built.
//
// Errors: InputError where there is no usable GPU; RunError naming the operation where a CUDA call fails.
#pragma once

#include <memory>

#include "kernels/base/view.h"

namespace natrix::cuda {

/// A stream and the library handles of one Context. Its kernels run on the stream in order.
class Device;

/// Opens the device for the `place`-th process of this machine. Processes take devices in turn and share them
/// where there are fewer. The device becomes the calling thread's device for allocate().
std::shared_ptr<Device> open_device(int place);

/// Allocates from CUDA's memory pool of the device. Released memory is reused, so from the second
/// step on the driver is not called. Ordered with the work on the device; does not wait. Returns null
/// if there is not enough.
void* allocate(int64_t bytes);
void release(void* p) noexcept;
bool is_device_memory(const void* p);
/// Copies in either direction or within the device. The copy waits for all earlier work on any device, and
/// later work waits for it.
void copy(View from, View to);
void fill_zero(View v);
/// Copies between contiguous device views, in stream order.
void copy(Device& device, View from, View to);
/// Copies through pinned memory. upload is ordered with the device's work and returns once `from` has been
/// read. download waits for all earlier work.
void upload(Device& device, View from, View to);
void download(Device& device, View from, View to);

/// The most bytes of device memory that this process has had in use at once.
int64_t peak_bytes();

}  // namespace natrix::cuda
