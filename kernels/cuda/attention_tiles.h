// What the kernels of attention share: a block of 256 threads works on 64 queries of a head and one page of 64 keys.
// Keys are visited page by page, and pages begin at absolute multiples of 64, so a query's result does not depend on the
// segment that it is in, bit for bit.
#pragma once

#include "kernels/attention.h"
#include "kernels/cuda/pages.h"
#include "kernels/cuda/tile_product.h"

namespace natrix::cuda {

constexpr int64_t kQueries = 64;
static_assert(kPageRows == kProductEdge && kQueries == kProductEdge);

struct AttentionInputs {
  Rows<float> q;
  Pages pages;
  const int64_t* begin;  // [B, T]: the first row that a query sees; does not decrease with t
  int64_t tokens, heads, queries_a_key, dim, first;
  float scale;

  /// args: AttentionForward or AttentionBackward. Takes its tables from the arena.
  template <class Args>
  AttentionInputs(Context& ctx, const Args& a);

  __device__ int64_t key_head(int64_t h) const { return h / queries_a_key; }
  __device__ bool sees(int64_t b, int64_t t, int64_t j) const {
    return j <= first + t && j >= begin[b * tokens + t];
  }
  /// Calls sink(i, j, score) for the queries [t0, t0 + n) and the keys of a page, i and j counted from the first
  /// of each. The score is −∞ where a query does not see the key.
  template <class Sink>
  __device__ void scores(ProductScratch& scratch, int64_t b, int64_t h, int64_t t0, int64_t n, int64_t page,
                         Sink sink) const {
    const int64_t g = key_head(h), j0 = page * kPageRows, last = first + tokens;
    block_product<Along::kTerms>(
        scratch, n, kPageRows, dim, [&](int64_t i, int64_t c) { return q[b * tokens + t0 + i][h * dim + c]; },
        [&](int64_t c, int64_t j) { return j0 + j < last ? pages.key(b, g, j0 + j)[c * kPageRows] : 0.0f; },
        [&](int64_t i, int64_t j, float sum) {
          sink(i, j, sees(b, t0 + i, j0 + j) ? sum * scale : -INFINITY);
          return 0.0f;
        });
  }
  /// Element c of the value of row j; zero beyond the rows that were written.
  __device__ float value(int64_t b, int64_t g, int64_t j, int64_t c) const {
    return j < first + tokens ? pages.value(b, g, j)[c] : 0.0f;
  }
  __device__ float key(int64_t b, int64_t g, int64_t j, int64_t c) const {
    return j < first + tokens ? pages.key(b, g, j)[c * kPageRows] : 0.0f;
  }
};

/// The table of AttentionInputs::begin.
const int64_t* visible_from(Context& ctx, View doc_start, View position, int64_t batch, int64_t tokens,
                            int64_t first, int64_t window);

template <class Args>
AttentionInputs::AttentionInputs(Context& ctx, const Args& a)
    : q(a.q),
      pages(pages_on_device(ctx, a.history, a.q.extent(0))),
      begin(visible_from(ctx, a.doc_start, a.position, a.q.extent(0), a.q.extent(1), a.first, a.window)),
      tokens(a.q.extent(1)),
      heads(a.q.cols() / a.history.head_dim),
      queries_a_key(heads / a.history.heads),
      dim(a.history.head_dim),
      first(a.first),
      scale(static_cast<float>(a.scale)) {}

inline dim3 attention_grid(const AttentionInputs& in, int64_t batch) {
  return dim3(blocks_for(in.tokens, kQueries), static_cast<unsigned>(in.heads), static_cast<unsigned>(batch));
}

}  // namespace natrix::cuda
