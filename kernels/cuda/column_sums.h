// Sums over rows, for gradients of parameters: in two passes, so that the order of additions depends on the
// number of rows alone, and no atomic operation is needed.
#pragma once

#include "kernels/cuda/launch.h"

namespace natrix::cuda {

/// target[c] += Σ_r element(r, c), r in [0, rows). Scratch: at most 256 rows of `cols`.
template <class F>
void add_column_sums(Context& ctx, int64_t rows, int64_t cols, float* target, F element) {
  if (rows == 0 || cols == 0) return;
  constexpr int64_t kMostParts = 256, kFewestRows = 32;
  const int64_t by_count = (rows + kMostParts - 1) / kMostParts;
  const int64_t part = by_count > kFewestRows ? by_count : kFewestRows, parts = (rows + part - 1) / part;
  Arena::Frame frame(ctx.arena());
  const Rows<float> partial(ctx.arena().take(Dtype::kF32, {parts, cols}));
  for_cells(ctx, parts, cols, [=] __device__(int64_t p, int64_t c) {
    const int64_t end = (p + 1) * part < rows ? (p + 1) * part : rows;
    float sum = 0;
    for (int64_t r = p * part; r < end; ++r) sum += element(r, c);
    partial[p][c] = sum;
  });
  for_cells(ctx, 1, cols, [=] __device__(int64_t, int64_t c) {
    float sum = 0;
    for (int64_t p = 0; p < parts; ++p) sum += partial[p][c];
    target[c] += sum;
  });
}

}  // namespace natrix::cuda
