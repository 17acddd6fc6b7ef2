#include "kernels/base/transfer.h"
#include "kernels/cuda/pages.h"
#include "kernels/key_value_pages.h"

namespace natrix::cuda {

Pages pages_on_device(Context& ctx, const KeyValuePages& p, int64_t batch) {
  static_assert(sizeof(void*) == sizeof(int64_t));
  const auto count = static_cast<int64_t>(p.pages.size());
  View table = ctx.arena().take(Dtype::kI64, {count});
  upload(ctx, View(const_cast<void**>(p.pages.data()), Dtype::kI64, {count}), table);
  return {.table = reinterpret_cast<float* const*>(table.as<int64_t>()),
          .pages = count / batch,
          .heads = p.heads,
          .head_dim = p.head_dim,
          .padded_dim = p.padded_dim()};
}

void append_rows(Context& ctx, const AppendRows& a) {
  Arena::Frame frame(ctx.arena());
  const Pages pages = pages_on_device(ctx, a.pages, a.k.extent(0));
  const Rows<float> k(a.k), v(a.v);
  const int64_t tokens = a.k.extent(1), first = a.first, D = a.pages.head_dim, padded = a.pages.padded_dim();
  // Channels beyond D are the padding of values, which is zero.
  for_cells(ctx, a.k.rows(), a.pages.heads * padded, [=] __device__(int64_t row, int64_t cell) {
    const int64_t b = row / tokens, j = first + row % tokens, g = cell / padded, c = cell % padded;
    pages.value(b, g, j)[c] = c < D ? v[row][g * D + c] : 0.0f;
    if (c < D) pages.key(b, g, j)[c * kPageRows] = k[row][g * D + c];
  });
}

void read_rows(Context& ctx, const ReadRows& a) {
  Arena::Frame frame(ctx.arena());
  const Pages pages = pages_on_device(ctx, a.pages, a.k.extent(0));
  const Rows<float> k(a.k), v(a.v);
  const int64_t tokens = a.k.extent(1), first = a.first, D = a.pages.head_dim;
  for_cells(ctx, a.k.rows(), a.k.cols(), [=] __device__(int64_t row, int64_t cell) {
    const int64_t b = row / tokens, j = first + row % tokens, g = cell / D, c = cell % D;
    k[row][cell] = pages.key(b, g, j)[c * kPageRows];
    v[row][cell] = pages.value(b, g, j)[c];
  });
}

}  // namespace natrix::cuda
