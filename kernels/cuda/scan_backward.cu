// The selective scan backward. All tiles run in parallel. A tile starts from the state before it and from the
// gradient at its end (scan_tiles.h), and recomputes the rest:
//
//   block    32 channels (the lanes) × up to 8 warps of kPerThread states
//   tile     kTile tokens, in stretches of kStretch tokens. States before each stretch stay in shared
//            memory; states and decays of the current stretch stay in registers.
//
// dB and dC sum over channels: 32 of them by shuffles, then one partial result per block of channels, added
// in order. dx and ddt sum over states: over warps, through shared memory, once per stretch. exp2 per channel
// and token: 4 N (two summaries, the pass that finds the states before the stretches, and the stretches).
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/scan_tiles.h"

namespace natrix::cuda {
namespace {

/// Tokens in a stretch: 4 or 8. docs/notes/performance-experiments.md has the register counts of both.
constexpr int kStretch = 4;
constexpr int kTile = 32, kStretches = kTile / kStretch;
constexpr int kPerThread = kQuad, kMostWarps = 8, kSlice = kPerThread * kMostWarps;  // states per launch

/// T: dtype of x, dy and dx.
template <class T>
struct Operands {
  Rows<T> x, dy, dx;
  Rows<float> D, ddt;
  float* partial;  // [channel blocks, B T, 2 N]: dB and dC
};

/// Sums each of 8 values over the 32 lanes; lane l returns the sum of value l / 4. Each round halves the
/// number of values in a lane.
__device__ float transposed_sum(float (&v)[8], int lane) {
#pragma unroll
  for (int half = 4; half > 0; half /= 2) {
    const int bit = 4 * half;  // 16, 8, 4
    const bool upper = (lane & bit) != 0;
#pragma unroll
    for (int k = 0; k < half; ++k) {
      const float mine = upper ? v[k + half] : v[k], theirs = upper ? v[k] : v[k + half];
      v[k] = mine + __shfl_xor_sync(kAllLanes, theirs, bit);
    }
  }
  float sum = v[0];
  sum += __shfl_xor_sync(kAllLanes, sum, 2);
  return sum + __shfl_xor_sync(kAllLanes, sum, 1);
}

/// Handles the states [first_state, first_state + 4 · warps) of all tiles.
template <bool whole, class T>
__global__ void __launch_bounds__(32 * kMostWarps)
    scan_backward_kernel(ScanInputs in, Operands<T> io, Tiles states, Tiles gradients, int64_t first_state) {
  const int lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y),
            warps = static_cast<int>(blockDim.y);
  const int64_t i = int64_t{blockIdx.x} * 32 + lane, b = blockIdx.z, n0 = first_state + warp * kPerThread;
  const bool there = i < in.channels;
  float* before_stretch = dynamic_shared<float>() + warp * 32 + lane;  // [kStretches][kPerThread][warps · 32]
  // [2][kStretch][warps][32]
  float* over_states = dynamic_shared<float>() + kStretches * kPerThread * warps * 32;

  float rate[kPerThread];
  for (int k = 0; k < kPerThread; ++k) rate[k] = there && n0 + k < in.states ? in.rate(i, n0 + k) : 0.0f;
  const auto column = [&](const auto& m, int64_t row) {
    return there ? static_cast<float>(m[row][i]) : 0.0f;
  };
  const Columns<whole> n{n0, in.states};  // B and C of this thread's states

  for (int64_t tile = blockIdx.y; tile < states.count; tile += gridDim.y) {
    const int64_t first = tile * kTile, end = first + kTile < in.tokens ? first + kTile : in.tokens;
    float h[kPerThread], g[kPerThread], dA[kPerThread] = {};
    for (int k = 0; k < kPerThread; ++k) {
      const bool exists = there && n0 + k < in.states;
      h[k] = exists ? states.at(b, tile, n0 + k, i) : 0.0f;
      g[k] = exists ? gradients.at(b, tile, n0 + k, i) : 0.0f;
    }
    for (int s = 0; s < kStretches; ++s) {
      for (int k = 0; k < kPerThread; ++k) before_stretch[(s * kPerThread + k) * warps * 32] = h[k];
      for (int64_t t = first + s * kStretch; t < first + (s + 1) * kStretch && t < end; ++t) {
        const int64_t row = b * in.tokens + t;
        const float dt = column(in.dt, row), input = dt * column(io.x, row);
        const Quad B = n.load(in.B[row]);
        if (in.starts(b, t)) reset(h);
        for (int k = 0; k < kPerThread; ++k) h[k] = decay_of(dt * rate[k]) * h[k] + input * B[k];
      }
    }
    for (int s = kStretches - 1; s >= 0; --s) {
      const int64_t begin = first + s * kStretch;
      if (begin >= end) continue;
      // The state before each token, and its decay.
      float earlier[kStretch][kPerThread], decay[kStretch][kPerThread];
      for (int k = 0; k < kPerThread; ++k) h[k] = before_stretch[(s * kPerThread + k) * warps * 32];
#pragma unroll
      for (int j = 0; j < kStretch; ++j) {
        const int64_t t = begin + j, row = b * in.tokens + t;
        if (t >= end) break;
        const float dt = column(in.dt, row), input = dt * column(io.x, row);
        const bool starts = in.starts(b, t);
        const Quad B = n.load(in.B[row]);
        for (int k = 0; k < kPerThread; ++k) {
          earlier[j][k] = h[k];
          decay[j][k] = starts ? 0.0f : decay_of(dt * rate[k]);
          h[k] = decay[j][k] * h[k] + input * B[k];
        }
      }
#pragma unroll
      for (int j = kStretch - 1; j >= 0; --j) {
        const int64_t t = begin + j, row = b * in.tokens + t;
        if (t >= end) continue;
        const float dt = column(in.dt, row), x = column(io.x, row), dy = column(io.dy, row), input = dt * x;
        const Quad B = n.load(in.B[row]), C = n.load(in.C[row]);
        float sums[2 * kPerThread];  // sums for dB, then for dC
        float gB = 0, pA = 0;        // p = ∂L/∂(dt A)
        for (int k = 0; k < kPerThread; ++k) {
          const float now = decay[j][k] * earlier[j][k] + input * B[k];
          g[k] += dy * C[k];
          sums[k] = g[k] * input;
          sums[kPerThread + k] = now * dy;
          gB += g[k] * B[k];
          g[k] *= decay[j][k];
          const float p = g[k] * earlier[j][k];
          pA += p * rate[k];
          dA[k] += p * dt;
        }
        const float total = transposed_sum(sums, lane);
        const int value = lane / 4;  // which of the eight
        const int64_t of = n0 + value % kPerThread;
        if (lane % 4 == 0 && of < in.states) {
          io.partial[((blockIdx.x * in.batch * in.tokens + row) * 2 + value / kPerThread) * in.states + of] =
              total;
        }
        over_states[(j * warps + warp) * 32 + lane] = gB;
        over_states[((kStretch + j) * warps + warp) * 32 + lane] = pA * kLn2;
      }
      __syncthreads();
      for (int j = warp; j < kStretch; j += warps) {
        const int64_t t = begin + j, row = b * in.tokens + t;
        if (t >= end || !there) continue;
        float gB = 0, pA = 0;
        for (int w = 0; w < warps; ++w) {
          gB += over_states[(j * warps + w) * 32 + lane];
          pA += over_states[((kStretch + j) * warps + w) * 32 + lane];
        }
        const float skip = first_state == 0 && io.D ? io.D[0][i] * column(io.dy, row) : 0.0f;
        const float dx = in.dt[row][i] * gB + skip, ddt = pA + column(io.x, row) * gB;
        io.dx[row][i] = static_cast<T>(first_state == 0 ? dx : column(io.dx, row) + dx);
        io.ddt[row][i] = first_state == 0 ? ddt : io.ddt[row][i] + ddt;
      }
      __syncthreads();  // the next stretch overwrites over_states
    }
    for (int k = 0; k < kPerThread; ++k) {  // dA_log = dA ⊙ A replaces the tile's state
      if (there && n0 + k < in.states) states.at(b, tile, n0 + k, i) = dA[k] * rate[k] * kLn2;
    }
  }
}

template <class T>
void add_parameter_gradients(Context& ctx, const ScanBackward& a, const ScanInputs& in, const Tiles& tiles) {
  const int64_t states = in.states, channels = in.channels;
  const int64_t rows = in.batch * tiles.count;
  const View per_tile(tiles.state, Dtype::kF32, {rows, states * channels});  // [B · tiles, N, I]
  const Rows<float> parts(per_tile);
  float* dA_log = Rows<float>(a.dA_log).data;
  add_column_sums(
      ctx, rows, states * channels, {per_tile},
      [=] __device__(int64_t r, auto c) { return c.load(parts[r]); },
      [=] __device__(int64_t c) { return dA_log + c % channels * states + c / channels; });
  if (!a.dD) return;
  const Rows<T> x(a.x), dy(a.dy);
  add_column_sums(ctx, in.batch * in.tokens, channels, {a.x, a.dy}, a.dD, [=] __device__(int64_t r, auto i) {
    const Quad x_r = i.load(x[r]), dy_r = i.load(dy[r]);
    return each([&](int k) { return x_r[k] * dy_r[k]; });
  });
}

template <class T>
void backward(Context& ctx, const ScanBackward& a) {
  const ScanInputs in(a.dt, a.A_log, a.B, a.C, a.doc_start);
  Arena::Frame frame(ctx.arena());
  const Tiles states = take_tiles(ctx, in, kTile), gradients = take_tiles(ctx, in, kTile);
  summarise_tiles(ctx, in, states, Direction::kForward, a.x, a.B);
  prefix_tiles(ctx, in, states, Direction::kForward, a.state_in, {});
  summarise_tiles(ctx, in, gradients, Direction::kBackward, a.dy, a.C);
  prefix_tiles(ctx, in, gradients, Direction::kBackward, a.dstate_out, a.dstate_in);

  const int64_t rows = in.batch * in.tokens, channel_blocks = (in.channels + 31) / 32;
  float* partial = ctx.arena().take(Dtype::kF32, {channel_blocks, rows, 2 * in.states}).as<float>();
  const Operands<T> io{Rows<T>(a.x),     Rows<T>(a.dy),      Rows<T>(a.dx),
                       Rows<float>(a.D), Rows<float>(a.ddt), partial};
  const bool whole = whole_quads(in.states, {a.B, a.C});
  const dim3 grid(blocks_for(in.channels, 32),
                  static_cast<unsigned>(states.count < 32768 ? states.count : 32768),
                  static_cast<unsigned>(in.batch));
  for (int64_t first = 0; first < in.states; first += kSlice) {
    const int64_t left = in.states - first, count = left < kSlice ? left : kSlice;
    const auto warps = static_cast<unsigned>((count + kPerThread - 1) / kPerThread);
    const size_t shared = (kStretches * kPerThread + 2 * kStretch) * size_t{warps} * 32 * sizeof(float);
    launch(whole ? scan_backward_kernel<true, T> : scan_backward_kernel<false, T>, grid, dim3(32, warps),
           shared, stream_of(ctx), in, io, states, gradients, first);
  }
  const Rows<float> dB(a.dB), dC(a.dC);
  const int64_t width = 2 * in.states, n_states = in.states;
  for_cells(ctx, rows, width, [=] __device__(int64_t r, int64_t c) {
    float sum = 0;
    for (int64_t block = 0; block < channel_blocks; ++block) sum += partial[(block * rows + r) * width + c];
    (c < n_states ? dB[r][c] : dC[r][c - n_states]) = sum;
  });
  add_parameter_gradients<T>(ctx, a, in, states);
}

}  // namespace

void scan_backward(Context& ctx, const ScanBackward& a) {
  for_io(a.x.dtype, [&](auto zero) { backward<decltype(zero)>(ctx, a); });
}

}  // namespace natrix::cuda
