#include "tests/kernels/operands.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace natrix::test {
namespace {
constexpr int64_t kBefore = 3, kAfter = 2;  // columns of padding
}  // namespace

Buffer filled(Dtype dtype, const Shape& shape, double value) {
  Buffer b(dtype, shape);
  for_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    std::fill_n(b.view().as<T>(), shape.count(), static_cast<T>(value));
  });
  return b;
}

StridedCopy::StridedCopy(View from)
    : wide_(poisoned(from.dtype, from.shape.with_last(kBefore + from.cols() + kAfter))),
      view_(wide_.view().columns(kBefore, from.cols())) {
  copy(from, view_);
}

bool StridedCopy::padding_untouched() const {
  bool untouched = true;
  for_float(view_.dtype, [&](auto zero) {
    for (int64_t r = 0; r < view_.rows(); ++r) {
      const auto* row = wide_.view().row<decltype(zero)>(r);
      for (int64_t c = 0; c < wide_.view().cols(); ++c) {
        const bool padding = c < kBefore || c >= kBefore + view_.cols();
        if (padding && !std::isnan(row[c])) untouched = false;
      }
    }
  });
  return untouched;
}

bool same_bits(View a, View b) {
  if (a.dtype != b.dtype || !(a.shape == b.shape)) return false;
  const auto bytes = static_cast<size_t>(a.cols() * size_of(a.dtype));
  for (int64_t r = 0; r < a.rows(); ++r) {
    const auto* p = static_cast<const char*>(a.data) + r * a.row_stride * size_of(a.dtype);
    const auto* q = static_cast<const char*>(b.data) + r * b.row_stride * size_of(b.dtype);
    if (std::memcmp(p, q, bytes) != 0) return false;
  }
  return true;
}

}  // namespace natrix::test
