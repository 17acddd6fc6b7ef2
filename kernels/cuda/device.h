// The device of backend cuda, without CUDA's headers. Declared in every build, defined where CUDA is built.
//
// Errors: InputError where there is no usable GPU; RunError, naming what was tried, for what a call reports.
#pragma once

#include <memory>

#include "kernels/base/view.h"

namespace natrix::cuda {

/// A stream and the libraries' handles: what kernels of one Context run on, one after the other.
class Device;

std::shared_ptr<Device> open_device();

/// Null if there is not enough.
void* allocate(int64_t bytes);
void release(void* p) noexcept;
bool is_device_memory(const void* p);
/// In either direction, or within the device; after all work so far on any device, and before what comes
/// later.
void copy(View from, View to);
void fill_zero(View v);

}  // namespace natrix::cuda
