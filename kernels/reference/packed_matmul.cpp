// Products with packed weights as their formula says them: c = a Wᵀ + bias, sums in double.
#include "kernels/packed_matmul.h"

#include <array>

namespace natrix::reference {
namespace {

/// Rows [first, last) of a by one matrix of the stack.
template <class T>
void multiply(const PackedMatmul& args, int64_t matrix, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    for (int64_t n = 0; n < args.b.rows; ++n) {
      double sum = args.bias ? static_cast<double>(args.bias.as<T>()[n]) : 0.0;
      for (int64_t k = 0; k < args.b.cols; ++k) {
        sum += static_cast<double>(args.a.row<T>(r)[k]) * static_cast<double>(unpacked(args.b, matrix, n, k));
      }
      args.c.row<T>(r)[n] = static_cast<T>(sum);
    }
  }
}

}  // namespace

void packed_matmul(Context&, const PackedMatmul& args) {
  const std::array<int64_t, 2> all{0, args.a.rows()};
  const std::span<const int64_t> offsets =
      args.offsets.empty() ? std::span<const int64_t>(all) : args.offsets;
  for_float(args.c.dtype, [&](auto zero) {
    for (size_t g = 0; g + 1 < offsets.size(); ++g) {
      multiply<decltype(zero)>(args, static_cast<int64_t>(g), offsets[g], offsets[g + 1]);
    }
  });
}

}  // namespace natrix::reference
