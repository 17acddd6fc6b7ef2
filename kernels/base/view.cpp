#include "kernels/base/view.h"

#include <fmt/format.h>

namespace natrix {

int64_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64:
    case Dtype::kI64: return 8;
    case Dtype::kF32:
    case Dtype::kI32: return 4;
    case Dtype::kBF16:
    case Dtype::kF16: return 2;
    case Dtype::kU8: return 1;
  }
  contract_broken("unknown dtype", std::source_location::current());
}

const char* name_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32: return "f32";
    case Dtype::kF64: return "f64";
    case Dtype::kBF16: return "bf16";
    case Dtype::kF16: return "f16";
    case Dtype::kI32: return "i32";
    case Dtype::kI64: return "i64";
    case Dtype::kU8: return "u8";
  }
  return "?";
}

Shape::Shape(std::initializer_list<int64_t> extents) {
  for (int64_t e : extents) push_back(e);
}

void Shape::push_back(int64_t extent) {
  require(rank_ < kMaxRank, "a shape has at most five extents");
  require(extent >= 0, "a shape's extent is negative");
  extents_[static_cast<size_t>(rank_++)] = extent;
}

int64_t Shape::count() const {
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= (*this)[i];
  return n;
}

int64_t Shape::cols() const {
  return rank_ == 0 ? 1 : (*this)[rank_ - 1];
}

int64_t Shape::rows() const {
  int64_t n = 1;
  for (int i = 0; i + 1 < rank_; ++i) n *= (*this)[i];
  return n;
}

Shape Shape::with_last(int64_t extent) const {
  require(rank_ > 0, "a scalar has no last extent");
  Shape s = *this;
  s.extents_[static_cast<size_t>(rank_ - 1)] = extent;
  return s;
}

std::string Shape::to_string() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string((*this)[i]);
  return s + "]";
}

View View::columns(int64_t begin, int64_t count) const {
  require(0 <= begin && 0 <= count && begin + count <= cols(), "columns outside of the view");
  return View(static_cast<char*>(data) + begin * size_of(dtype), dtype, shape.with_last(count), row_stride);
}

View View::row_range(int64_t begin, int64_t count) const {
  require(0 <= begin && 0 <= count && begin + count <= rows(), "rows outside of the view");
  return View(static_cast<char*>(data) + begin * row_stride * size_of(dtype), dtype, Shape{count, cols()},
              row_stride);
}

View View::reshaped(Shape other) const {
  require(contiguous() && other.count() == count(),
          "only contiguous elements take another shape of the same count");
  return View(data, dtype, other);
}

std::string View::to_string() const {
  return name_of(dtype) + shape.to_string();
}

}  // namespace natrix
