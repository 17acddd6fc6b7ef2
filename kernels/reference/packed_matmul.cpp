// Products with packed weights as their formula says: c = a Wᵀ + bias, sums in double.
#include "kernels/packed_matmul.h"

#include <algorithm>
#include <array>
#include <vector>

namespace natrix::reference {
namespace {

/// Row r of a, rounded to s i where the weights are int8.
template <class T>
std::vector<double> row_of(const PackedMatmul& args, int64_t r) {
  constexpr int64_t kBlock = RoundedActivations::kBlock;
  const T* a = args.a.row<T>(r);
  std::vector<double> row(a, a + args.b.cols);
  if (args.b.format != WeightFormat::kInt8) return row;
  const std::vector<float> x(row.begin(), row.end());
  for (int64_t k = 0; k < args.b.cols; k += kBlock) {
    const int64_t count = std::min(kBlock, args.b.cols - k);
    std::array<int16_t, kBlock> i{};
    const float s = round_activations({x.data() + k, static_cast<size_t>(count)}, i.data());
    for (int64_t j = 0; j < count; ++j) {
      row[static_cast<size_t>(k + j)] =
          static_cast<double>(s) * static_cast<double>(i[static_cast<size_t>(j)]);
    }
  }
  return row;
}

/// Multiplies rows [first, last) of a by one matrix of the stack.
template <class T>
void multiply(const PackedMatmul& args, int64_t matrix, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    const std::vector<double> a = row_of<T>(args, r);
    for (int64_t n = 0; n < args.b.rows; ++n) {
      double sum = args.bias ? static_cast<double>(args.bias.as<T>()[n]) : 0.0;
      for (int64_t k = 0; k < args.b.cols; ++k) {
        sum += a[static_cast<size_t>(k)] * static_cast<double>(unpacked(args.b, matrix, n, k));
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
