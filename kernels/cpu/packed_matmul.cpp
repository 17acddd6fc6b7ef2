// Products with packed weights on the CPU. GEMM reads the packed operand in place. For int8, rows are first
// rounded to integers: stored as int16 for a single row, as f32 for rows that GEMM multiplies.
#include "kernels/packed_matmul.h"

#include <algorithm>
#include <vector>

#include "kernels/base/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/round_rows.h"

namespace natrix::cpu {
namespace {

/// Rows that are multiplied by one matrix.
struct Group {
  int64_t matrix, first, rows;
};

std::vector<Group> groups_of(const PackedMatmul& args) {
  if (args.offsets.empty()) return {{0, 0, args.a.rows()}};
  std::vector<Group> groups;
  for (size_t g = 0; g + 1 < args.offsets.size(); ++g) {
    const int64_t first = args.offsets[g], rows = args.offsets[g + 1] - first;
    if (rows > 0) groups.push_back({static_cast<int64_t>(g), first, rows});
  }
  return groups;
}

/// a in the form that the weight's format needs.
struct Rows {
  View values;    // [R, K] f32; for int8 their integers
  View steps;     // [R, blocks] f32, int8 only: the value of one integer step
  View integers;  // [R, K rounded up to whole lines] int16, two per i32; int8 only
};

Rows rounded(Context& ctx, View a) {
  const int64_t R = a.rows(), K = a.cols(), line = (K + 3) / 4 * 4;
  Rows rows{ctx.arena().take(Dtype::kF32, {R, K}),
            ctx.arena().take(Dtype::kF32, {R, RoundedActivations::blocks(K)}),
            ctx.arena().take(Dtype::kI32, {R, line / 2})};
  parallel_for(ctx, R, std::max<int64_t>(1, 8192 / std::max<int64_t>(K, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      auto* integers = reinterpret_cast<int16_t*>(rows.integers.row<int32_t>(r));
      std::fill(integers + K, integers + line, int16_t{0});
      round_row(a.row<float>(r), K, rows.steps.row<float>(r), integers);
      std::copy_n(integers, K, rows.values.row<float>(r));
    }
  });
  return rows;
}

}  // namespace

void packed_matmul(Context& ctx, const PackedMatmul& args) {
  require(args.c.dtype == Dtype::kF32, "packed_matmul: the CPU backend computes in f32 only");
  const PackedWeight& b = args.b;
  const bool int8 = b.format == WeightFormat::kInt8;
  Arena::Frame frame(ctx.arena());
  const Rows rows = int8 ? rounded(ctx, args.a) : Rows{.values = args.a, .steps = {}, .integers = {}};
  const std::vector<Group> groups = groups_of(args);
  std::vector<PackedOperand> operands;
  std::vector<Gemm> products;
  operands.reserve(groups.size());
  for (const Group& g : groups) {
    operands.push_back({.weight = &b, .matrix = g.matrix});
    if (int8) {
      operands.back().scale = b.scale + g.matrix * b.rows;
      operands.back().steps = rows.steps.row<float>(g.first);
      operands.back().integers = reinterpret_cast<const int16_t*>(rows.integers.row<int32_t>(g.first));
    }
    products.push_back({.M = g.rows,
                        .N = b.rows,
                        .K = b.cols,
                        .a = rows.values.row<float>(g.first),
                        .a_row = rows.values.row_stride,
                        .a_k = 1,
                        .c = args.c.row<float>(g.first),
                        .c_row = args.c.row_stride,
                        .bias = args.bias.as<float>(),
                        .packed = &operands.back()});
  }
  gemm(ctx, products);
}

}  // namespace natrix::cpu
