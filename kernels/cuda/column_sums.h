// Sums over rows, for gradients of parameters. Two passes and no atomic operation, so the order of additions
// depends only on the number of rows.
#pragma once

#include "kernels/cuda/quads.h"

namespace natrix::cuda {

/// *target(c) += Σ_r element(r, columns)[c] for r in [0, rows), where target(c) is not null. `operands` are
/// the views that element() reads. Scratch: at most 256 rows of `cols`.
template <class Element, class Target>
void add_column_sums(Context& ctx, int64_t rows, int64_t cols, std::initializer_list<View> operands,
                     Element element, Target target) {
  if (rows == 0 || cols == 0) return;
  constexpr int64_t kMostParts = 256, kFewestRows = 32;
  const int64_t by_count = (rows + kMostParts - 1) / kMostParts;
  const int64_t part = by_count > kFewestRows ? by_count : kFewestRows, parts = (rows + part - 1) / part;
  Arena::Frame frame(ctx.arena());
  const Rows<float> partial(ctx.arena().take(Dtype::kF32, {parts, cols}));
  for_quads(ctx, parts, cols, operands, [=] __device__(int64_t p, auto columns) {
    const int64_t end = (p + 1) * part < rows ? (p + 1) * part : rows;
    Quad sum = all(0);
    for (int64_t r = p * part; r < end; ++r) sum += element(r, columns);
    columns.store(partial[p], sum);
  });
  for_cells(ctx, 1, cols, [=] __device__(int64_t, int64_t c) {
    float* to = target(c);
    if (to == nullptr) return;
    float sum = 0;
    for (int64_t p = 0; p < parts; ++p) sum += partial[p][c];
    *to += sum;
  });
}

/// The same, with one vector of `cols` as the target.
template <class Element>
void add_column_sums(Context& ctx, int64_t rows, int64_t cols, std::initializer_list<View> operands,
                     View target, Element element) {
  float* sums = Rows<float>(target).data;
  add_column_sums(ctx, rows, cols, operands, element, [=] __device__(int64_t c) { return sums + c; });
}

}  // namespace natrix::cuda
