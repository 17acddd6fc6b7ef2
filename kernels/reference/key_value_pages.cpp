// Copies rows into and out of pages of keys and values.
#include "kernels/key_value_pages.h"

#include <algorithm>

#include "kernels/base/parallel.h"

namespace natrix::reference {
namespace {

/// Calls body(b, g, p, r, row) for every head g of every row: row r of page p, and row `row` of k and v.
template <class Body>
void for_rows(Context& ctx, View k, const KeyValuePages& pages, int64_t first, const Body& body) {
  const int64_t tokens = k.extent(1);
  const int64_t grain = std::max<int64_t>(1, 8192 / k.cols());
  parallel_for(ctx, k.rows(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / tokens, at = first + row % tokens;
      for (int64_t g = 0; g < pages.heads; ++g) body(b, g, at / kPageRows, at % kPageRows, row);
    }
  });
}

}  // namespace

void append_rows(Context& ctx, const AppendRows& a) {
  const int64_t batch = a.k.extent(0), D = a.pages.head_dim, Dp = a.pages.padded_dim();
  for_float(a.pages.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_rows(ctx, a.k, a.pages, a.first, [&](int64_t b, int64_t g, int64_t p, int64_t r, int64_t row) {
      T *keys = a.pages.keys<T>(batch, b, g, p), *values = a.pages.values<T>(batch, b, g, p) + r * Dp;
      const T *k = a.k.row<T>(row) + g * D, *v = a.v.row<T>(row) + g * D;
      for (int64_t c = 0; c < D; ++c) keys[c * kPageRows + r] = k[c];
      std::copy_n(v, D, values);
      std::fill(values + D, values + Dp, T{0});
    });
  });
}

void read_rows(Context& ctx, const ReadRows& a) {
  const int64_t batch = a.k.extent(0), D = a.pages.head_dim, Dp = a.pages.padded_dim();
  for_float(a.pages.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_rows(ctx, a.k, a.pages, a.first, [&](int64_t b, int64_t g, int64_t p, int64_t r, int64_t row) {
      const T *keys = a.pages.keys<T>(batch, b, g, p), *values = a.pages.values<T>(batch, b, g, p) + r * Dp;
      T *k = a.k.row<T>(row) + g * D, *v = a.v.row<T>(row) + g * D;
      for (int64_t c = 0; c < D; ++c) k[c] = keys[c * kPageRows + r];
      std::copy_n(values, D, v);
    });
  });
}

}  // namespace natrix::reference
