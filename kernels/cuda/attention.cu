// Attention forward: an online softmax over the pages that 64 queries of a head see. Products are plain f32
// multiply-adds: 4 D operations per query and key, bound by their instruction rate. The sums of values lie in the arena between
// pages.
#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/positions.h"

namespace natrix::cuda {
namespace {

constexpr int kThreadsOfAQuery = kProductThreads / static_cast<int>(kQueries);

__global__ void __launch_bounds__(kProductThreads)
    attention_forward_kernel(AttentionInputs in, Rows<float> sums, Rows<float> y, float* lse) {
  __shared__ ProductScratch scratch;
  __shared__ float weights[kQueries][kPageRows + 1];
  __shared__ float most[kQueries], total[kQueries], shrink[kQueries];
  const int64_t b = blockIdx.z, h = blockIdx.y, g = in.key_head(h), t0 = int64_t{blockIdx.x} * kQueries;
  const int64_t n = t0 + kQueries < in.tokens ? kQueries : in.tokens - t0;
  const int query = static_cast<int>(threadIdx.x) / kThreadsOfAQuery,
            part = static_cast<int>(threadIdx.x) % kThreadsOfAQuery;
  if (part == 0) {
    most[query] = -INFINITY;
    total[query] = 0;
  }
  const int64_t first_page = in.begin[b * in.tokens + t0] / kPageRows,
                last_page = (in.first + t0 + n - 1) / kPageRows;
  for (int64_t page = first_page; page <= last_page; ++page) {
    in.scores(scratch, b, h, t0, n, page, [&](int64_t i, int64_t j, float s) { weights[i][j] = s; });
    float highest = -INFINITY;
    for (int j = part; query < n && j < kPageRows; j += kThreadsOfAQuery)
      highest = fmaxf(highest, weights[query][j]);
    for (int bits = kThreadsOfAQuery / 2; bits > 0; bits /= 2)
      highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, bits));
    const float before = most[query], now = fmaxf(before, highest);
    const bool any = now > -INFINITY;  // else nothing was seen so far
    float sum = 0;
    for (int j = part; query < n && j < kPageRows; j += kThreadsOfAQuery) {
      const float w = any ? expf(weights[query][j] - now) : 0.0f;
      weights[query][j] = w;
      sum += w;
    }
    for (int bits = kThreadsOfAQuery / 2; bits > 0; bits /= 2) sum += __shfl_xor_sync(kAllLanes, sum, bits);
    if (part == 0) {
      shrink[query] = any ? expf(before - now) : 1.0f;
      total[query] = total[query] * shrink[query] + sum;
      most[query] = now;
    }
    __syncthreads();
    block_product<Along::kTerms>(
        scratch, n, in.dim, kPageRows, [&](int64_t i, int64_t j) { return weights[i][j]; },
        [&](int64_t j, int64_t c) { return in.value(b, g, page * kPageRows + j, c); },
        [&](int64_t i, int64_t c, float sum_c) {
          float& to = sums[b * in.tokens + t0 + i][h * in.dim + c];
          to = page == first_page ? sum_c : to * shrink[i] + sum_c;
          return 0.0f;
        });
  }
  for (int64_t c = part; query < n && c < in.dim; c += kThreadsOfAQuery) {
    const int64_t row = b * in.tokens + t0 + query;
    y[row][h * in.dim + c] = sums[row][h * in.dim + c] / total[query];
  }
  if (lse != nullptr && part == 0 && query < n)
    lse[(b * in.heads + h) * in.tokens + t0 + query] = most[query] + logf(total[query]);
}

}  // namespace

const int64_t* visible_from(Context& ctx, View doc_start, View position, int64_t batch, int64_t tokens,
                            int64_t first, int64_t window) {
  int64_t* begin = ctx.arena().take(Dtype::kI64, {batch, tokens}).as<int64_t>();
  const Rows<int64_t> positions(position);
  for_document_starts(ctx, doc_start, batch, tokens, [=] __device__(int64_t b, int64_t t, int64_t start) {
    const int64_t carried = positions && positions.data[b] < first ? first - positions.data[b] : 0;
    const int64_t document = start >= 0 ? first + start : carried;
    const int64_t nearest = window > 0 ? first + t - window + 1 : 0;
    begin[b * tokens + t] = document > nearest ? document : nearest;
  });
  return begin;
}

void attention_forward(Context& ctx, const AttentionForward& a) {
  Arena::Frame frame(ctx.arena());
  const AttentionInputs in(ctx, a);
  const Rows<float> sums(ctx.arena().take(Dtype::kF32, a.q.shape));
  launch(attention_forward_kernel, attention_grid(in, a.q.extent(0)), kProductThreads, 0, stream_of(ctx), in,
         sums, Rows<float>(a.y), Rows<float>(a.lse).data);
}

}  // namespace natrix::cuda
