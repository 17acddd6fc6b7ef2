// Products with packed weights on the CPU: GEMM takes its operand as it lies.
#include "kernels/packed_matmul.h"

#include <vector>

#include "kernels/cpu/gemm.h"

namespace natrix::cpu {
namespace {

Gemm product_of(const PackedMatmul& args, int64_t matrix, View a, View c) {
  const PackedWeight& b = args.b;
  return {.M = c.rows(),
          .N = b.rows,
          .K = b.cols,
          .a = a.as<float>(),
          .a_row = a.row_stride,
          .a_k = 1,
          .c = c.as<float>(),
          .c_row = c.row_stride,
          .bias = args.bias.as<float>(),
          .packed = &args.b,
          .matrix = matrix,
          .scale = b.scale == nullptr ? nullptr : b.scale + matrix * b.rows};
}

}  // namespace

void packed_matmul(Context& ctx, const PackedMatmul& args) {
  require(args.c.dtype == Dtype::kF32, "packed_matmul: the CPU backend computes in f32 only");
  if (args.offsets.empty()) {
    const Gemm product = product_of(args, 0, args.a, args.c);
    return gemm(ctx, {&product, 1});
  }
  std::vector<Gemm> products;
  for (size_t g = 0; g + 1 < args.offsets.size(); ++g) {
    const int64_t first = args.offsets[g], rows = args.offsets[g + 1] - first;
    if (rows == 0) continue;
    products.push_back(product_of(args, static_cast<int64_t>(g), args.a.row_range(first, rows),
                                  args.c.row_range(first, rows)));
  }
  gemm(ctx, products);
}

}  // namespace natrix::cpu
