// View: a borrowed pointer with a dtype and a shape. It does not own memory.
//
// Layout: the last dimension (the channels) is contiguous. All dimensions before it are collapsed into rows
// that lie `row_stride` elements apart. GEMM produces this layout, and it makes a range of channels a view:
// after [x; z] = W_in u, `x` and `z` are two views into one buffer, without a copy.
//
//   element (b, t, c) of a [B, T, C] view is at  data + (b * T + t) * row_stride + c
//
// Every extent and offset is int64_t: sequences here pass 2^31 elements.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels/base/bfloat16.h"
#include "kernels/base/check.h"

namespace natrix {

enum class Dtype : uint8_t { kF32, kF64, kBF16, kF16, kI32, kI64, kU8 };

int64_t size_of(Dtype dtype);
const char* name_of(Dtype dtype);  // "f32", "i64", …
/// The dtype for arithmetic and sums where activations are `dtype`: f32 for bf16, otherwise the same.
constexpr Dtype wide(Dtype dtype) {
  return dtype == Dtype::kBF16 ? Dtype::kF32 : dtype;
}

template <class T>
struct DtypeOf;
template <>
struct DtypeOf<float> {
  static constexpr Dtype value = Dtype::kF32;
};
template <>
struct DtypeOf<double> {
  static constexpr Dtype value = Dtype::kF64;
};
template <>
struct DtypeOf<BFloat16> {
  static constexpr Dtype value = Dtype::kBF16;
};
template <>
struct DtypeOf<int32_t> {
  static constexpr Dtype value = Dtype::kI32;
};
template <>
struct DtypeOf<int64_t> {
  static constexpr Dtype value = Dtype::kI64;
};
template <>
struct DtypeOf<uint8_t> {
  static constexpr Dtype value = Dtype::kU8;
};

/// Up to five extents. Rank 0 is a scalar with one element.
class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return extents_[static_cast<size_t>(i < 0 ? rank_ + i : i)]; }
  int64_t count() const;  // product of all extents
  int64_t cols() const;   // the last extent; 1 for a scalar
  int64_t rows() const;   // product of the others
  Shape with_last(int64_t extent) const;
  void push_back(int64_t extent);
  bool operator==(const Shape&) const = default;

  std::string to_string() const;  // "[2, 67, 40]"

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

struct View {
  void* data = nullptr;
  Dtype dtype = Dtype::kF32;
  Shape shape;
  int64_t row_stride = 0;  // elements between rows; equals cols() when contiguous

  View() = default;
  View(void* data_, Dtype dtype_, Shape shape_) : View(data_, dtype_, shape_, shape_.cols()) {}
  View(void* data_, Dtype dtype_, Shape shape_, int64_t row_stride_)
      : data(data_), dtype(dtype_), shape(shape_), row_stride(row_stride_) {}

  explicit operator bool() const { return data != nullptr; }

  int64_t extent(int i) const { return shape[i]; }
  int64_t rows() const { return shape.rows(); }
  int64_t cols() const { return shape.cols(); }
  int64_t count() const { return shape.count(); }
  bool contiguous() const { return row_stride == cols() || rows() <= 1; }
  int64_t bytes() const { return count() * size_of(dtype); }  // of the elements; row gaps do not count

  template <class T>
  T* as() const {
    require(data == nullptr || dtype == DtypeOf<T>::value, "view read as another dtype than its own");
    return static_cast<T*>(data);
  }
  template <class T>
  T* row(int64_t r) const {
    return as<T>() + r * row_stride;
  }

  /// Channels [begin, begin + count) of every row. Shares memory.
  View columns(int64_t begin, int64_t count) const;
  /// Rows [begin, begin + count) of the collapsed rows, as [count, cols]. Shares memory.
  View row_range(int64_t begin, int64_t count) const;
  /// The same contiguous elements under another shape.
  View reshaped(Shape other) const;

  std::string to_string() const;  // "f32[2, 67, 40]"
};

/// Calls f with a zero of the C++ type for `dtype` (f32 or f64):
/// for_float(x.dtype, [&](auto zero) { using T = decltype(zero); … }).
template <class F>
void for_float(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::kF32: return f(float{});
    case Dtype::kF64: return f(double{});
    default: contract_broken("expected f32 or f64", std::source_location::current());
  }
}

/// Like for_float, and also for bf16.
template <class F>
void for_stored(Dtype dtype, F&& f) {
  if (dtype == Dtype::kBF16) return f(BFloat16{});
  for_float(dtype, f);
}

}  // namespace natrix
