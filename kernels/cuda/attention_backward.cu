// Attention backward, deterministic without atomics: one kernel per 64 queries for dq, and one per page of keys for dk and
// dv. Both compute the weights again from the saved logarithms of their sums, so there are seven products instead
// of five.
#include "kernels/cuda/attention_tiles.h"

namespace natrix::cuda {
namespace {

struct BackwardInputs {
  AttentionInputs in;
  Rows<float> dy;
  const float *lse, *delta;  // [B, H, T]

  __device__ int64_t at(int64_t b, int64_t h, int64_t t) const { return (b * in.heads + h) * in.tokens + t; }
  /// weights[i][j] = p_ij
  __device__ void find_weights(ProductScratch& scratch, float (*weights)[kPageRows + 1], int64_t b, int64_t h,
                               int64_t t0, int64_t n, int64_t page) const {
    in.scores(scratch, b, h, t0, n, page,
              [&](int64_t i, int64_t j, float s) { weights[i][j] = expf(s - lse[at(b, h, t0 + i)]); });
  }
  /// weights[i][j] = ds_ij times the scale, from p_ij
  __device__ void to_score_gradients(ProductScratch& scratch, float (*weights)[kPageRows + 1], int64_t b,
                                     int64_t h, int64_t t0, int64_t n, int64_t page) const {
    const int64_t g = in.key_head(h), j0 = page * kPageRows;
    block_product<Along::kTerms>(
        scratch, n, kPageRows, in.dim,
        [&](int64_t i, int64_t c) { return dy[b * in.tokens + t0 + i][h * in.dim + c]; },
        [&](int64_t c, int64_t j) { return in.value(b, g, j0 + j, c); },
        [&](int64_t i, int64_t j, float dp) {
          weights[i][j] *= in.scale * (dp - delta[at(b, h, t0 + i)]);
          return 0.0f;
        });
  }
};

__global__ void __launch_bounds__(kProductThreads) attention_dq_kernel(BackwardInputs a, Rows<float> sums) {
  __shared__ ProductScratch scratch;
  __shared__ float weights[kQueries][kPageRows + 1];
  const AttentionInputs& in = a.in;
  const int64_t b = blockIdx.z, h = blockIdx.y, g = in.key_head(h), t0 = int64_t{blockIdx.x} * kQueries;
  const int64_t n = t0 + kQueries < in.tokens ? kQueries : in.tokens - t0;
  const int64_t first_page = in.begin[b * in.tokens + t0] / kPageRows,
                last_page = (in.first + t0 + n - 1) / kPageRows;
  for (int64_t page = first_page; page <= last_page; ++page) {
    a.find_weights(scratch, weights, b, h, t0, n, page);
    a.to_score_gradients(scratch, weights, b, h, t0, n, page);
    block_product<Along::kTerms>(
        scratch, n, in.dim, kPageRows, [&](int64_t i, int64_t j) { return weights[i][j]; },
        [&](int64_t j, int64_t c) { return in.key(b, g, page * kPageRows + j, c); },
        [&](int64_t i, int64_t c, float sum) {
          float& to = sums[b * in.tokens + t0 + i][h * in.dim + c];
          to = page == first_page ? sum : to + sum;
          return 0.0f;
        });
  }
}

/// dk and dv of one page: the queries of its heads add to it in order.
__global__ void __launch_bounds__(kProductThreads)
    attention_dkv_kernel(BackwardInputs a, Pages gradients, int64_t first_page) {
  __shared__ ProductScratch scratch;
  __shared__ float weights[kQueries][kPageRows + 1];
  const AttentionInputs& in = a.in;
  const int64_t b = blockIdx.z, g = blockIdx.y, page = first_page + blockIdx.x, j0 = page * kPageRows;
  for (int64_t h = g * in.queries_a_key; h < (g + 1) * in.queries_a_key; ++h) {
    for (int64_t t0 = 0; t0 < in.tokens; t0 += kQueries) {
      const int64_t n = t0 + kQueries < in.tokens ? kQueries : in.tokens - t0;
      if (in.first + t0 + n <= j0) continue;  // all before the page
      if (in.begin[b * in.tokens + t0] >= j0 + kPageRows)
        break;  // this and all later queries begin behind it
      a.find_weights(scratch, weights, b, h, t0, n, page);
      block_product<Along::kRows>(
          scratch, kPageRows, in.dim, n, [&](int64_t j, int64_t i) { return weights[i][j]; },
          [&](int64_t i, int64_t c) { return a.dy[b * in.tokens + t0 + i][h * in.dim + c]; },
          [&](int64_t j, int64_t c, float sum) {
            if (j0 + j < in.first + in.tokens) gradients.value(b, g, j0 + j)[c] += sum;
            return 0.0f;
          });
      a.to_score_gradients(scratch, weights, b, h, t0, n, page);
      block_product<Along::kRows>(
          scratch, kPageRows, in.dim, n, [&](int64_t j, int64_t i) { return weights[i][j]; },
          [&](int64_t i, int64_t c) { return in.q[b * in.tokens + t0 + i][h * in.dim + c]; },
          [&](int64_t j, int64_t c, float sum) {
            if (j0 + j < in.first + in.tokens) gradients.key(b, g, j0 + j)[c * kPageRows] += sum;
            return 0.0f;
          });
    }
  }
}

/// δ = dy · y of every query.
void find_delta(Context& ctx, const AttentionInputs& in, Rows<float> dy, Rows<float> y, int64_t batch,
                float* delta) {
  for_warps(ctx, batch * in.tokens * in.heads, [=] __device__(int64_t i, int lane) {
    const int64_t row = i / in.heads, h = i % in.heads, b = row / in.tokens, t = row % in.tokens;
    float sum = 0;
    for (int64_t c = lane; c < in.dim; c += 32) sum += dy[row][h * in.dim + c] * y[row][h * in.dim + c];
    sum = warp_sum(sum);
    if (lane == 0) delta[(b * in.heads + h) * in.tokens + t] = sum;
  });
}

}  // namespace

void attention_backward(Context& ctx, const AttentionBackward& a) {
  Arena::Frame frame(ctx.arena());
  const int64_t batch = a.q.extent(0);
  const AttentionInputs in(ctx, a);
  float* delta = ctx.arena().take(Dtype::kF32, {batch, in.heads, in.tokens}).as<float>();
  find_delta(ctx, in, Rows<float>(a.dy), Rows<float>(a.y), batch, delta);
  const BackwardInputs backward{in, Rows<float>(a.dy), Rows<float>(a.lse).data, delta};
  View sums = ctx.arena().take(Dtype::kF32, a.q.shape);  // dq may alias what the other kernel reads
  launch(attention_dq_kernel, attention_grid(in, batch), kProductThreads, 0, stream_of(ctx), backward,
         Rows<float>(sums));
  const int64_t pages = (in.first + in.tokens + kPageRows - 1) / kPageRows;
  // With a window, the pages before the first query's have no gradient.
  const int64_t first_page = a.window > 0 && in.first >= a.window ? (in.first - a.window + 1) / kPageRows : 0;
  launch(attention_dkv_kernel,
         dim3(blocks_for(pages - first_page, 1), static_cast<unsigned>(a.history.heads),
              static_cast<unsigned>(batch)),
         kProductThreads, 0, stream_of(ctx), backward, pages_on_device(ctx, a.dhistory, batch), first_page);
  const Rows<float> from(sums), to(a.dq);
  for_cells(ctx, a.q.rows(), a.q.cols(), [=] __device__(int64_t r, int64_t c) { to[r][c] = from[r][c]; });
}

}  // namespace natrix::cuda
