#include "kernels/base/functions.h"
#include "kernels/cuda/ssd_tiles.h"

namespace natrix::cuda {
namespace {

/// high + low += x, exactly up to the rounding of low (Knuth's two-sum).
__device__ void add_exactly(float& high, float& low, float x) {
  const float sum = high + x, of_x = sum - high;
  low += (high - (sum - of_x)) + (x - of_x);
  high = sum;
}

void find_documents(Context& ctx, const SsdSizes& s, View doc_start, int32_t* document) {
  const Rows<uint8_t> starts(doc_start);
  for_cells(ctx, s.batch, s.tiles(), [=] __device__(int64_t b, int64_t tile) {
    int32_t count = 0;
    for (int64_t k = 0; k < s.length(tile); ++k) {
      count += starts && starts[b][tile * kSsdTile + k] != 0;
      document[s.row(b, tile) + k] = count;
    }
  });
}

__global__ void __launch_bounds__(kProductThreads)
    summarise_forward_kernel(SsdSizes s, SsdSteps steps, Rows<float> x, Rows<float> B, float* adds) {
  __shared__ ProductScratch scratch;
  const int64_t tile = blockIdx.x, h = blockIdx.y, b = blockIdx.z, n = s.length(tile), row = s.row(b, tile);
  const int64_t column = s.group_column(h), last = row + n - 1;
  float* to = adds + ((b * s.tiles() + tile) * s.heads + h) * s.matrix();
  block_product<Along::kRows>(
      scratch, s.channels, s.states, n, [&](int64_t p, int64_t j) { return x[row + j][h * s.channels + p]; },
      [&](int64_t j, int64_t k) {
        return steps.between(last, row + j, h) * steps.at(row + j, h) * B[row + j][column + k];
      },
      [&](int64_t p, int64_t k, float sum) {
        to[p * s.states + k] = sum;
        return 0.0f;
      });
}

__global__ void __launch_bounds__(kProductThreads)
    summarise_backward_kernel(SsdSizes s, SsdSteps steps, Rows<float> dy, Rows<float> C, float* adds) {
  __shared__ ProductScratch scratch;
  const int64_t tile = blockIdx.x, h = blockIdx.y, b = blockIdx.z, n = s.length(tile), row = s.row(b, tile);
  const int64_t column = s.group_column(h);
  float* to = adds + ((b * s.tiles() + tile) * s.heads + h) * s.matrix();
  block_product<Along::kRows>(
      scratch, s.channels, s.states, n, [&](int64_t p, int64_t i) { return dy[row + i][h * s.channels + p]; },
      [&](int64_t i, int64_t k) { return steps.from_start(row + i, h) * C[row + i][column + k]; },
      [&](int64_t p, int64_t k, float sum) {
        to[p * s.states + k] = sum;
        return 0.0f;
      });
}

__global__ void __launch_bounds__(kProductThreads)
    multiply_vectors_kernel(SsdSizes s, Rows<float> B, Rows<float> C, float* products) {
  __shared__ ProductScratch scratch;
  const int64_t tile = blockIdx.x, g = blockIdx.y, b = blockIdx.z, n = s.length(tile), row = s.row(b, tile);
  float* to = products + ((b * s.tiles() + tile) * s.groups + g) * kSsdTile * kSsdTile;
  block_product<Along::kTerms>(
      scratch, n, n, s.states, [&](int64_t i, int64_t k) { return C[row + i][g * s.states + k]; },
      [&](int64_t k, int64_t j) { return B[row + j][g * s.states + k]; },
      [&](int64_t i, int64_t j, float sum) {
        to[i * kSsdTile + j] = sum;
        return 0.0f;
      });
}

}  // namespace

SsdSteps find_steps(Context& ctx, const SsdSizes& s, const SsdStepArgs& a) {
  const Shape shape{s.batch, s.tokens, s.heads};
  const auto take = [&] { return ctx.arena().take(Dtype::kF32, shape).as<float>(); };
  const SsdSteps steps{take(), take(), take(),
                       ctx.arena().take(Dtype::kI32, {s.batch, s.tokens}).as<int32_t>(), s.heads};
  find_documents(ctx, s, a.doc_start, steps.document);
  const Rows<float> dt(a.dt), bias(a.dt_bias), A_log(a.A_log);
  const auto least = static_cast<float>(a.dt_min), most = static_cast<float>(a.dt_max);
  for_cells(ctx, s.batch * s.tiles(), s.heads, [=] __device__(int64_t bt, int64_t h) {
    const int64_t tile = bt % s.tiles(), row = s.row(bt / s.tiles(), tile);
    const float A = -expf(A_log.data[h]), add = bias ? bias.data[h] : 0.0f;
    float high = 0, low = 0;
    for (int64_t t = row; t < row + s.length(tile); ++t) {
      const float step = fminf(fmaxf(softplus(dt[t][h] + add), least), most);
      const float exponent = step * A;
      const int32_t before = t == row ? 0 : steps.document[t - 1];
      if (steps.document[t] != before) high = low = 0;  // no decay crosses the start of a document
      add_exactly(high, low, exponent);
      low += fmaf(step, A, -exponent);  // what the product lost
      const int64_t at = t * s.heads + h;
      steps.step[at] = step;
      steps.high[at] = high;
      steps.low[at] = low;
    }
  });
  return steps;
}

void summarise_tiles(Context& ctx, const SsdSizes& s, const SsdSteps& steps, InTime direction, View values,
                     View vectors, float* adds) {
  launch(direction == InTime::kForward ? summarise_forward_kernel : summarise_backward_kernel,
         ssd_grid(s, s.heads), kProductThreads, 0, stream_of(ctx), s, steps, Rows<float>(values),
         Rows<float>(vectors), adds);
}

void prefix_tiles(Context& ctx, const SsdSizes& s, const SsdSteps& steps, InTime direction, View before,
                  float* states, View after, View decay) {
  const float* first = Rows<float>(before).data;
  float *last = Rows<float>(after).data, *total = Rows<float>(decay).data;
  const bool forward = direction == InTime::kForward;
  for_cells(ctx, s.batch * s.heads, s.matrix(), [=] __device__(int64_t bh, int64_t e) {
    const int64_t b = bh / s.heads, h = bh % s.heads, tiles = s.tiles();
    float state = first != nullptr ? first[bh * s.matrix() + e] : 0.0f, whole = 1;
    for (int64_t k = 0; k < tiles; ++k) {
      const int64_t tile = forward ? k : tiles - 1 - k;
      float& at = states[((b * tiles + tile) * s.heads + h) * s.matrix() + e];
      const float added = at, kept = steps.from_start(s.row(b, tile) + s.length(tile) - 1, h);
      at = state;
      state = kept * state + added;
      whole *= kept;
    }
    if (last != nullptr) last[bh * s.matrix() + e] = state;
    if (total != nullptr && e == 0) total[bh] = whole;
  });
}

void multiply_vectors(Context& ctx, const SsdSizes& s, View B, View C, float* products) {
  launch(multiply_vectors_kernel, ssd_grid(s, s.groups), kProductThreads, 0, stream_of(ctx), s,
         Rows<float>(B), Rows<float>(C), products);
}

}  // namespace natrix::cuda
