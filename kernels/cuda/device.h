// The device of backend cuda, without CUDA's headers. Declared in every build, defined where CUDA is built.
//
// Errors: InputError where there is no usable GPU; RunError, naming what was tried, for what a call reports.
#pragma once

#include <memory>

#include "kernels/base/view.h"

namespace natrix::cuda {

/// A stream and the libraries' handles: what kernels of one Context run on, one after the other.
class Device;

/// That of the `place`-th process of this machine: devices are shared out in turn, and shared where they are
/// fewer. It becomes the calling thread's device for allocate().
std::shared_ptr<Device> open_device(int place);

/// From the pool that CUDA keeps for the device: what is given back is used again, and a step after the first
/// asks the driver for nothing. In the order of the work on the device, without waiting. Null if there is not
/// enough.
void* allocate(int64_t bytes);
void release(void* p) noexcept;
bool is_device_memory(const void* p);
/// In either direction, or within the device; after all work so far on any device, and before what comes
/// later.
void copy(View from, View to);
void fill_zero(View v);
/// Between contiguous views of the device, in the order of its stream.
void copy(Device& device, View from, View to);
/// From the host to the device in the order of the device's work, returning once `from` has been read; and
/// back, waiting for all work so far. Through pinned memory.
void upload(Device& device, View from, View to);
void download(Device& device, View from, View to);

/// The most bytes of device memory in use at once so far, in this process.
int64_t peak_bytes();

}  // namespace natrix::cuda
