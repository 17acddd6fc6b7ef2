#include "tests/kernels/operands.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <numeric>

namespace natrix::test {
namespace {
constexpr int64_t kBefore = 3, kAfter = 2;  // columns of padding
}  // namespace

Views::Views(const Buffers& buffers) {
  for (const auto& [name, buffer] : buffers) views_[name] = buffer.view();
}

View Views::operator[](const std::string& name) const {
  const auto found = views_.find(name);
  return found == views_.end() ? View{} : found->second;
}

Buffer filled(Dtype dtype, const Shape& shape, double value) {
  Buffer b(dtype, shape);
  for_stored(dtype, [&](auto zero) {
    using T = decltype(zero);
    std::fill_n(b.view().as<T>(), shape.count(), static_cast<T>(value));
  });
  return b;
}

Buffer copy_of(View v) {
  Buffer b(v.dtype, v.shape);
  copy(v, b.view());
  return b;
}

View tokens_of(View v, int64_t begin, int64_t count) {
  require(v.shape.rank() == 3 && v.extent(0) == 1, "tokens_of takes one sequence");
  const View rows = v.row_range(begin, count);
  return {rows.data, v.dtype, {1, count, v.cols()}, v.row_stride};
}

StridedCopy::StridedCopy(View from)
    : wide_(poisoned(from.dtype, from.shape.with_last(kBefore + from.cols() + kAfter))),
      view_(wide_.view().columns(kBefore, from.cols())) {
  copy(from, view_);
}

bool StridedCopy::padding_untouched() const {
  bool untouched = true;
  for_stored(view_.dtype, [&](auto zero) {
    for (int64_t r = 0; r < view_.rows(); ++r) {
      const auto* row = wide_.view().row<decltype(zero)>(r);
      for (int64_t c = 0; c < wide_.view().cols(); ++c) {
        const bool padding = c < kBefore || c >= kBefore + view_.cols();
        if (padding && !std::isnan(static_cast<double>(row[c]))) untouched = false;
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

Buffers as(Dtype dtype, const Buffers& buffers) {
  Buffers out;
  for (const auto& [name, buffer] : buffers) out[name] = as(dtype, buffer.view());
  return out;
}

void narrow(Buffers& buffers, std::initializer_list<const char*> names) {
  for (const char* name : names) buffers[name] = as(Dtype::kBF16, buffers[name].view());
}
Buffer absolute(View v) {
  Buffer magnitude = copy_of(v);
  for_float(v.dtype, [&](auto zero) {
    auto* p = magnitude.view().as<decltype(zero)>();
    for (int64_t i = 0; i < v.count(); ++i) p[i] = std::fabs(p[i]);
  });
  return magnitude;
}

void expect_close(const Buffers& got, const Buffers& want, const Buffers& magnitudes,
                  const std::function<double(const std::string&)>& tolerance, const std::string& hint) {
  for (const auto& [name, expected] : want) {
    const Buffer a = as(Dtype::kF64, got.at(name).view()), b = as(Dtype::kF64, expected.view());
    const double bound = tolerance(name) * largest(magnitudes.at(name).view());
    for (int64_t i = 0; i < b.view().count(); ++i) {
      const double x = a.view().as<double>()[i], y = b.view().as<double>()[i];
      if (std::fabs(x - y) <= bound) continue;  // not so for a NaN
      ADD_FAILURE() << name << "[" << i << "] is " << x << ", expected " << y << " within " << bound << "; "
                    << hint;
      break;
    }
  }
}

void expect_same_bits(const Views& got, const Views& want, const std::string& hint) {
  for (const auto& [name, view] : want) EXPECT_TRUE(same_bits(got[name], view)) << name << ", " << hint;
}

}  // namespace natrix::test
