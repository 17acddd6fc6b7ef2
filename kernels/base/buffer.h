// Buffer: owned, 64-byte aligned, zeroed memory with a shape. It can be moved but not copied.
//
// A View does not say whether it points to host or device memory; memory_of() finds out.
#pragma once

#include <memory>

#include "kernels/base/view.h"

namespace natrix {

/// kDry: addresses of a dry run. Nothing is behind them, and to touch one ends the program.
enum class Memory { kHost, kDevice, kDry };

Memory memory_of(const void* p);
/// Whether an address is of Memory::kDry. Such addresses lie above those that a process can have.
inline bool is_dry(const void* p) {
  constexpr int kDryBit = 54;
  return reinterpret_cast<uintptr_t>(p) >> kDryBit != 0;
}
/// Aligned memory, not zeroed. Returns null if there is not enough.
void* allocate(Memory memory, int64_t bytes);
void release(Memory memory, void* p) noexcept;

struct Release {
  Memory memory = Memory::kHost;
  void operator()(void* p) const noexcept { release(memory, p); }
};

class Buffer {
 public:
  Buffer() = default;
  Buffer(Dtype dtype, Shape shape, Memory memory = Memory::kHost);

  View view() const { return view_; }
  int64_t bytes() const { return view_.bytes(); }
  Memory memory() const { return memory_.get_deleter().memory; }
  explicit operator bool() const { return static_cast<bool>(view_); }

 private:
  std::unique_ptr<void, Release> memory_;
  View view_;
};

/// Copies elements, row by row where a side is strided. Shapes may differ as long as rows and columns
/// agree; dtypes must be equal. Either side may lie on a device. Such a copy waits for earlier kernels, and
/// later kernels wait for it. If either side is dry, nothing is copied.
void copy(View from, View to);
/// Copies with conversion between f32, f64 and bf16. A copy between host and device cannot convert.
void convert(View from, View to);
void fill_zero(View v);
/// The element size times all extents. Throws InputError if the product does not fit into int64_t.
int64_t checked_bytes(Dtype dtype, const Shape& shape);

}  // namespace natrix
