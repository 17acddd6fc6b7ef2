// The selective scan forward. A thread has one channel and keeps its states in registers. A warp reads 32
// neighbouring channels of a token, with dt and x of kAhead tokens at once. B and C are read four states at a
// time, from one address for the whole warp. Bytes per channel and token: 12 for x, dt (read) and y
// (written), 8 in bf16. exp2 per channel and token: N, or 2 N when the sequence is split in time because its
// channels alone would not fill the GPU.
#include "kernels/cuda/scan_tiles.h"
#include "kernels/scan.h"

namespace natrix::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kTile = 128;
constexpr int kAhead = 4;              // tokens whose dt and x are loaded together
constexpr int64_t kFullThreads = 512;  // per multiprocessor, to hide the latency of memory and exp2

/// kGroup: states that a thread holds at a time. With more states it makes several passes and adds to y. The
/// bound on blocks keeps nvcc 13 from spilling registers to fit more warps (seen for sm_80 with 8 states).
template <int kGroup, bool whole, class T>
__global__ void __launch_bounds__(kThreads, kFullThreads / kThreads)
    scan_forward_kernel(ScanInputs in, Rows<T> values, Tiles tiles, Rows<float> D, StateView state_in,
                        Rows<T> y, StateView state_out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, b = blockIdx.z;
  if (i >= in.channels) return;
  const float skip = D ? D[0][i] : 0.0f;
  for (int64_t tile = blockIdx.y; tile < tiles.count; tile += gridDim.y) {
    const int64_t first = tile * tiles.length,
                  end = first + tiles.length < in.tokens ? first + tiles.length : in.tokens;
    for (int64_t n0 = 0; n0 < in.states; n0 += kGroup) {
      float h[kGroup], rate[kGroup];
      for (int n = 0; n < kGroup; ++n) {
        const bool there = n0 + n < in.states;
        rate[n] = there ? in.rate(i, n0 + n) : 0.0f;
        h[n] = !there ? 0.0f : tiles ? tiles.at(b, tile, n0 + n, i) : state_in.load(b, i, n0 + n);
      }
      for (int64_t from = first; from < end; from += kAhead) {
        float dt[kAhead] = {}, x[kAhead] = {};
#pragma unroll
        for (int j = 0; j < kAhead; ++j) {
          if (from + j >= end) break;
          const int64_t row = b * in.tokens + from + j;
          dt[j] = in.dt[row][i];
          x[j] = static_cast<float>(values[row][i]);
        }
#pragma unroll
        for (int j = 0; j < kAhead; ++j) {
          const int64_t t = from + j, row = b * in.tokens + t;
          if (t >= end) break;
          if (in.starts(b, t)) reset(h);
          const float input = dt[j] * x[j];
          float sum = n0 == 0 ? skip * x[j] : static_cast<float>(y[row][i]);
#pragma unroll
          for (int q = 0; q < kGroup; q += kQuad) {
            const Columns<whole> n{n0 + q, in.states};
            if (n.first >= in.states) break;
            const Quad B = n.load(in.B[row]), C = n.load(in.C[row]);
            for (int k = 0; k < kQuad; ++k) {
              h[q + k] = decay_of(dt[j] * rate[q + k]) * h[q + k] + input * B[k];
              sum += h[q + k] * C[k];
            }
          }
          y[row][i] = static_cast<T>(sum);
        }
      }
      for (int n = 0; state_out && end == in.tokens && n < kGroup; ++n) {
        if (n0 + n < in.states) state_out.at(b, i, n0 + n) = h[n];
      }
    }
  }
}

}  // namespace

void scan_forward(Context& ctx, const ScanForward& a) {
  const ScanInputs in(a.dt, a.A_log, a.B, a.C, a.doc_start);
  Arena::Frame frame(ctx.arena());
  Tiles tiles;
  if (in.tokens > kTile && in.batch * in.channels < kFullThreads * multiprocessors(ctx)) {
    tiles = take_tiles(ctx, in, kTile);
    summarise_tiles(ctx, in, tiles, Direction::kForward, a.x, a.B);
    prefix_tiles(ctx, in, tiles, Direction::kForward, a.state_in, {});
  } else {
    tiles.length = in.tokens;
    tiles.count = 1;
  }
  const dim3 grid(blocks_for(in.channels, kThreads),
                  static_cast<unsigned>(tiles.count < 32768 ? tiles.count : 32768),
                  static_cast<unsigned>(in.batch));
  for_io(a.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto kernel_of = [&](auto whole) {
      constexpr bool kWhole = whole();
      return in.states <= 4   ? scan_forward_kernel<4, kWhole, T>
             : in.states <= 8 ? scan_forward_kernel<8, kWhole, T>
                              : scan_forward_kernel<16, kWhole, T>;
    };
    launch(whole_quads(in.states, {a.B, a.C}) ? kernel_of(std::true_type()) : kernel_of(std::false_type()),
           grid, kThreads, 0, stream_of(ctx), in, Rows<T>(a.x), tiles, Rows<float>(a.D),
           StateView(a.state_in), Rows<T>(a.y), StateView(a.state_out));
  });
}

void scan_summary(Context& ctx, const ScanSummary& a) {
  const ScanInputs in(a.dt, a.A_log, a.B, {}, a.doc_start);
  Arena::Frame frame(ctx.arena());
  const Tiles tiles = take_tiles(ctx, in, kTile);
  summarise_tiles(ctx, in, tiles, Direction::kForward, a.x, a.B);
  prefix_tiles(ctx, in, tiles, Direction::kForward, {}, a.state, a.decay);
}

void scan_summary_backward(Context& ctx, const ScanSummaryBackward& a) {
  const ScanInputs in(a.dt, a.A_log, {}, a.C, a.doc_start);
  Arena::Frame frame(ctx.arena());
  const Tiles tiles = take_tiles(ctx, in, kTile);
  summarise_tiles(ctx, in, tiles, Direction::kBackward, a.dy, a.C);
  prefix_tiles(ctx, in, tiles, Direction::kBackward, {}, a.state, a.decay);
}

}  // namespace natrix::cuda
