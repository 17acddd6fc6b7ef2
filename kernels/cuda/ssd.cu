// The Mamba-2 recurrence forward: in all tiles at once, from the state that each begins with. Per token and head 4 P N
// operations for the state and P · 64 within the tile, as plain f32 multiply-adds, which bound it.
#include "kernels/cuda/ssd_tiles.h"

namespace natrix::cuda {
namespace {

/// y = diag(exp(a)) C S₀ᵀ + M x + D x, the first two as one product over the states and then the tokens.
__global__ void __launch_bounds__(kProductThreads)
    ssd_forward_kernel(SsdSizes s, SsdSteps steps, Rows<float> x, Rows<float> C, Rows<float> D,
                       const float* products, const float* states, Rows<float> y) {
  __shared__ ProductScratch scratch;
  const int64_t tile = blockIdx.x, h = blockIdx.y, b = blockIdx.z, n = s.length(tile), row = s.row(b, tile);
  const int64_t column = s.group_column(h), at = b * s.tiles() + tile, first = h * s.channels;
  const float* S = states + (at * s.heads + h) * s.matrix();
  const float* CB = products + (at * s.groups + column / s.states) * kSsdTile * kSsdTile;
  const float skip = D ? D.data[h] : 0.0f;
  block_product<Along::kTerms>(
      scratch, n, s.channels, s.states + n,
      [&](int64_t i, int64_t k) {
        if (k < s.states) return steps.from_start(row + i, h) * C[row + i][column + k];
        const int64_t j = k - s.states;
        if (j > i) return 0.0f;
        return CB[i * kSsdTile + j] * steps.between(row + i, row + j, h) * steps.at(row + j, h);
      },
      [&](int64_t k, int64_t p) {
        return k < s.states ? S[p * s.states + k] : x[row + k - s.states][first + p];
      },
      [&](int64_t i, int64_t p, float sum) {
        y[row + i][first + p] = sum + skip * x[row + i][first + p];
        return 0.0f;
      });
}

float* take_floats(Context& ctx, const Shape& shape) {
  return ctx.arena().take(Dtype::kF32, shape).as<float>();
}

}  // namespace

void ssd_forward(Context& ctx, const SsdForward& a) {
  const SsdSizes s(a.dt, a.x, a.B, a.groups);
  Arena::Frame frame(ctx.arena());
  const SsdSteps steps = find_steps(ctx, s, SsdStepArgs(a));
  float* states = take_floats(ctx, {s.batch * s.tiles() * s.heads, s.matrix()});
  summarise_tiles(ctx, s, steps, InTime::kForward, a.x, a.B, states);
  prefix_tiles(ctx, s, steps, InTime::kForward, a.state_in, states, a.state_out);
  float* products = take_floats(ctx, {s.batch * s.tiles() * s.groups, kSsdTile * kSsdTile});
  multiply_vectors(ctx, s, a.B, a.C, products);
  launch(ssd_forward_kernel, ssd_grid(s, s.heads), kProductThreads, 0, stream_of(ctx), s, steps,
         Rows<float>(a.x), Rows<float>(a.C), Rows<float>(a.D), products, states, Rows<float>(a.y));
}

void ssd_summary(Context& ctx, const SsdSummary& a) {
  const SsdSizes s(a.dt, a.x, a.B, a.groups);
  Arena::Frame frame(ctx.arena());
  const SsdSteps steps = find_steps(ctx, s, SsdStepArgs(a));
  float* states = take_floats(ctx, {s.batch * s.tiles() * s.heads, s.matrix()});
  summarise_tiles(ctx, s, steps, InTime::kForward, a.x, a.B, states);
  prefix_tiles(ctx, s, steps, InTime::kForward, {}, states, a.state, a.decay);
}

void ssd_summary_backward(Context& ctx, const SsdSummaryBackward& a) {
  const SsdSizes s(a.dt, a.dy, a.C, a.groups);
  Arena::Frame frame(ctx.arena());
  const SsdSteps steps = find_steps(ctx, s, SsdStepArgs(a));
  float* states = take_floats(ctx, {s.batch * s.tiles() * s.heads, s.matrix()});
  summarise_tiles(ctx, s, steps, InTime::kBackward, a.dy, a.C, states);
  prefix_tiles(ctx, s, steps, InTime::kBackward, {}, states, a.state, a.decay);
}

}  // namespace natrix::cuda
