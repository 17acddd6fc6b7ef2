#include "kernels/cuda/scan_tiles.h"

namespace natrix::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kGroup = 16;  // states that a thread holds at a time
constexpr int kAhead = 4;   // tokens whose dt and value are loaded together

/// One thread per channel and tile. It reads dt and `values` once per kGroup states and computes N exp2 per
/// token and channel. The bound on blocks keeps nvcc 13 from spilling registers to fit more blocks.
template <bool backward, bool whole, class T>
__global__ void __launch_bounds__(kThreads, 4)
    summarise_kernel(ScanInputs in, Tiles tiles, Rows<T> values, Rows<float> vectors) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, b = blockIdx.z;
  if (i >= in.channels) return;
  for (int64_t tile = blockIdx.y; tile < tiles.count; tile += gridDim.y) {
    const int64_t first = tile * tiles.length;
    const int64_t count = first + tiles.length < in.tokens ? tiles.length : in.tokens - first;
    const auto token = [&](int64_t k) { return backward ? first + count - 1 - k : first + k; };
    float sum = 0;
    for (int64_t n0 = 0; n0 < in.states; n0 += kGroup) {
      float h[kGroup] = {}, rate[kGroup];
      for (int n = 0; n < kGroup; ++n) rate[n] = n0 + n < in.states ? in.rate(i, n0 + n) : 0.0f;
      for (int64_t from = 0; from < count; from += kAhead) {
        float dt[kAhead] = {}, value[kAhead] = {};
#pragma unroll
        for (int j = 0; j < kAhead; ++j) {
          if (from + j >= count) break;
          const int64_t row = b * in.tokens + token(from + j);
          dt[j] = in.dt[row][i];
          value[j] = static_cast<float>(values[row][i]);
        }
#pragma unroll
        for (int j = 0; j < kAhead; ++j) {
          if (from + j >= count) break;
          const int64_t t = token(from + j);
          const bool starts = in.starts(b, t);
          const float input = backward ? value[j] : dt[j] * value[j];
          if (starts && !backward) reset(h);
#pragma unroll
          for (int q = 0; q < kGroup; q += kQuad) {
            const Columns<whole> n{n0 + q, in.states};
            if (n.first >= in.states) break;
            const Quad vector = n.load(vectors[b * in.tokens + t]);
            for (int k = 0; k < kQuad; ++k) {
              const float decay = decay_of(dt[j] * rate[q + k]), added = input * vector[k];
              h[q + k] = backward ? decay * (h[q + k] + added) : decay * h[q + k] + added;
            }
          }
          if (starts && backward) reset(h);
          if (n0 == 0) sum = starts || sum < 0 ? kReset : sum + dt[j];
        }
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
  const bool backward = direction == Direction::kBackward, whole = whole_quads(in.states, {vectors});
  for_io(values.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(backward ? (whole ? summarise_kernel<true, true, T> : summarise_kernel<true, false, T>)
                    : (whole ? summarise_kernel<false, true, T> : summarise_kernel<false, false, T>),
           grid, kThreads, 0, stream_of(ctx), in, tiles, Rows<T>(values), Rows<float>(vectors));
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
      state = (step < 0 ? 0.0f : decay_of(step * rate)) * state + own;
      sum = step < 0 || sum < 0 ? kReset : sum + step;
    }
    if (to) to.at(b, i, n) = state;
    if (total) total.at(b, i, n) = sum < 0 ? 0.0f : decay_of(sum * rate);
  });
}

}  // namespace natrix::cuda
