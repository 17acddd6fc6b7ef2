// Buffer: owned, 64-byte aligned, zeroed memory with a shape. Moves, never copies by itself.
#pragma once

#include <memory>

#include "kernels/base/view.h"

namespace natrix {

class Buffer {
 public:
  Buffer() = default;
  Buffer(Dtype dtype, Shape shape);

  View view() const { return view_; }
  int64_t bytes() const { return view_.bytes(); }
  explicit operator bool() const { return static_cast<bool>(view_); }

 private:
  struct Free {
    void operator()(void* p) const noexcept;
  };
  std::unique_ptr<void, Free> memory_;
  View view_;
};

/// Copies elements, row by row where a side is strided. Shapes may differ as long as rows and columns agree.
/// Same dtype on both sides.
void copy(View from, View to);
/// Copies with conversion between f32 and f64.
void convert(View from, View to);
void fill_zero(View v);
/// Sum of `extents` products, refusing what does not fit into int64_t or is negative.
int64_t checked_bytes(Dtype dtype, const Shape& shape);

}  // namespace natrix
