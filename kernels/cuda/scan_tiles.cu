#include "kernels/cuda/scan_tiles.h"

namespace natrix::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kGroup = 16;  // states that a thread holds at a time

/// A thread a channel and tile. Reads dt and `values` once for every kGroup states; N exp2 a token and
/// channel.
template <bool backward, class T>
__global__ void __launch_bounds__(kThreads)
    summarise_kernel(ScanInputs in, Tiles tiles, Rows<T> values, Rows<float> vectors) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, b = blockIdx.z;
  if (i >= in.channels) return;
  for (int64_t tile = blockIdx.y; tile < tiles.count; tile += gridDim.y) {
    const int64_t first = tile * tiles.length;
    const int64_t count = first + tiles.length < in.tokens ? tiles.length : in.tokens - first;
    float sum = 0;
    for (int64_t n0 = 0; n0 < in.states; n0 += kGroup) {
      float h[kGroup] = {}, rate[kGroup];
      for (int n = 0; n < kGroup; ++n) rate[n] = n0 + n < in.states ? in.rate(i, n0 + n) : 0.0f;
      for (int64_t k = 0; k < count; ++k) {
        const int64_t t = backward ? first + count - 1 - k : first + k, row = b * in.tokens + t;
        const float dt = in.dt[row][i], value = static_cast<float>(values[row][i]);
        const bool starts = in.starts(b, t);
        const float* vector = vectors[row] + n0;
        for (int n = 0; n < kGroup; ++n) {
          const float v = n0 + n < in.states ? vector[n] : 0.0f;
          const float decay = starts ? 0.0f : exp2f(dt * rate[n]);
          h[n] = backward ? decay * (h[n] + value * v) : decay * h[n] + dt * value * v;
        }
        if (n0 == 0) sum = starts || sum < 0 ? kReset : sum + dt;
      }
      for (int n = 0; n < kGroup; ++n) {
        if (n0 + n < in.states) tiles.at(b, tile, n0 + n, i) = h[n];
      }
    }
    tiles.step(b, tile, i) = sum;
  }
}

}  // namespace

Tiles take_tiles(Context& ctx, const ScanInputs& in, int64_t length) {
  Tiles tiles;
  tiles.length = length;
  tiles.count = (in.tokens + length - 1) / length;
  tiles.channels = in.channels;
  tiles.states = in.states;
  tiles.state = ctx.arena().take(Dtype::kF32, {in.batch, tiles.count, in.states, in.channels}).as<float>();
  tiles.steps = ctx.arena().take(Dtype::kF32, {in.batch, tiles.count, in.channels}).as<float>();
  return tiles;
}

void summarise_tiles(Context& ctx, const ScanInputs& in, const Tiles& tiles, Direction direction, View values,
                     View vectors) {
  const dim3 grid(blocks_for(in.channels, kThreads),
                  static_cast<unsigned>(tiles.count < 32768 ? tiles.count : 32768),
                  static_cast<unsigned>(in.batch));
  for_io(values.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(direction == Direction::kBackward ? summarise_kernel<true, T> : summarise_kernel<false, T>, grid,
           kThreads, 0, stream_of(ctx), in, tiles, Rows<T>(values), Rows<float>(vectors));
  });
}

void prefix_tiles(Context& ctx, const ScanInputs& in, const Tiles& tiles, Direction direction, View before,
                  View after, View decay) {
  const StateView from(before), to(after), total(decay);
  const bool backward = direction == Direction::kBackward;
  for_cells(ctx, in.batch * in.states, in.channels, [=] __device__(int64_t r, int64_t i) {
    const int64_t b = r / in.states, n = r % in.states;
    const float rate = in.rate(i, n);
    float state = from.load(b, i, n), sum = 0;
    for (int64_t k = 0; k < tiles.count; ++k) {
      const int64_t tile = backward ? tiles.count - 1 - k : k;
      float& slot = tiles.at(b, tile, n, i);
      const float own = slot, step = tiles.step(b, tile, i);
      slot = state;
      state = (step < 0 ? 0.0f : exp2f(step * rate)) * state + own;
      sum = step < 0 || sum < 0 ? kReset : sum + step;
    }
    if (to) to.at(b, i, n) = state;
    if (total) total.at(b, i, n) = sum < 0 ? 0.0f : exp2f(sum * rate);
  });
}

}  // namespace natrix::cuda
