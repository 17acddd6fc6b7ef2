#include "kernels/base/dispatch.h"

#include <fmt/format.h>

namespace natrix {

void check_view(View v, Dtype dtype, const Shape& shape, std::string_view what) {
  if (!v || v.dtype != dtype || !(v.shape == shape)) [[unlikely]] {
    contract_broken(fmt::format("{}: expected {}{}, got {}", what, name_of(dtype), shape.to_string(),
                                v ? v.to_string() : "nothing"),
                    std::source_location::current());
  }
}

void check_optional(View v, Dtype dtype, const Shape& shape, std::string_view what) {
  if (v) check_view(v, dtype, shape, what);
}

void check_matrix(View v, Dtype dtype, int64_t rows, int64_t cols, std::string_view what) {
  if (!v || v.dtype != dtype || v.rows() != rows || v.cols() != cols) [[unlikely]] {
    contract_broken(fmt::format("{}: expected {} rows of {} {}, got {}", what, rows, cols, name_of(dtype),
                                v ? v.to_string() : "nothing"),
                    std::source_location::current());
  }
}

void check_dense(View v, Dtype dtype, const Shape& shape, std::string_view what) {
  check_view(v, dtype, shape, what);
  require(v.contiguous(), what);
}

}  // namespace natrix
