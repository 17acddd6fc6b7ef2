// The causal convolution, channels last: a thread a channel, so that a warp reads 32 neighbouring channels of
// a token. It walks a tile of kTile tokens with the last K inputs in registers. Bytes a channel and token,
// forward: 4 in, 4 out (2 and 2 in bf16), and (K − 1) / kTile of the former more for the inputs before the
// tile; the exponential of SiLU hides behind them.
//
// Backward walks the same tiles and computes the pre-activations again. A tile's gradients of inputs need the
// K − 1 tokens that follow it, so it walks on into them.
#include "kernels/base/functions.h"
#include "kernels/conv.h"
#include "kernels/cuda/column_sums.h"

namespace natrix::cuda {
namespace {

constexpr int64_t kTile = 64;
constexpr int kThreads = 128;

/// T: of x, y and their gradients.
template <class T>
struct Inputs {
  Rows<T> x;
  Rows<float> weight, bias, tail;
  Rows<uint8_t> doc_start;
  int64_t tokens, channels, taps;

  Inputs(View x_, View weight_, View bias_, View tail_in, View doc_start_)
      : x(x_),
        weight(weight_),
        bias(bias_),
        tail(tail_in),
        doc_start(doc_start_),
        tokens(x_.extent(1)),
        channels(x_.extent(2)),
        taps(weight_.extent(1)) {}

  /// x_t, where t counts from −(K−1).
  __device__ float input(int64_t b, int64_t t, int64_t i) const {
    if (t >= 0) return static_cast<float>(x[b * tokens + t][i]);
    return tail ? tail[(b + 1) * (taps - 1) + t][i] : 0.0f;
  }
  __device__ bool starts(int64_t b, int64_t t) const { return doc_start && t >= 0 && doc_start[b][t] != 0; }
};

/// The last K inputs of one channel, those of earlier documents zero.
template <int K>
struct Window {
  float x[K] = {};
  int length = 0;  // inputs of the token's document, at most K

  template <class T>
  __device__ void push(const Inputs<T>& in, int64_t b, int64_t t, int64_t i) {
    if (in.starts(b, t)) {
      length = 0;
      for (int k = 0; k < K; ++k) x[k] = 0;
    }
    for (int k = 0; k + 1 < K; ++k) x[k] = x[k + 1];
    x[K - 1] = in.input(b, t, i);
    if (length < K) ++length;
  }
  __device__ float convolve(const float (&weight)[K], float bias) const {
    float c = bias;
    for (int k = 0; k < K; ++k) c += weight[k] * x[k];
    return c;
  }
};

template <int K, class T>
__global__ void __launch_bounds__(kThreads) conv_forward_kernel(Inputs<T> in, Rows<T> y) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, b = blockIdx.z;
  if (i >= in.channels) return;
  float weight[K];
  for (int k = 0; k < K; ++k) weight[k] = in.weight[i][k];
  const float bias = in.bias ? in.bias[0][i] : 0.0f;
  for (int64_t first = blockIdx.y * kTile; first < in.tokens; first += gridDim.y * kTile) {
    const int64_t end = first + kTile < in.tokens ? first + kTile : in.tokens;
    Window<K> window;
    for (int64_t t = first - (K - 1); t < first; ++t) window.push(in, b, t, i);
    for (int64_t t = first; t < end; ++t) {
      window.push(in, b, t, i);
      const float c = window.convolve(weight, bias);
      y[b * in.tokens + t][i] = static_cast<T>(c * sigmoid(c));
    }
  }
}

/// Where gradients go. `partial` has a row for each sequence and tile: K of the taps and one of the bias, for
/// each channel.
template <class T>
struct Gradients {
  Rows<T> dy, dx;
  Rows<float> dtail_out, dtail_in, partial;
};

template <int K, class T>
__global__ void __launch_bounds__(kThreads)
    conv_backward_kernel(Inputs<T> in, Gradients<T> g, int64_t tiles) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, b = blockIdx.z;
  if (i >= in.channels) return;
  float weight[K];
  for (int k = 0; k < K; ++k) weight[k] = in.weight[i][k];
  const float bias = in.bias ? in.bias[0][i] : 0.0f;
  for (int64_t tile = blockIdx.y; tile < tiles; tile += gridDim.y) {
    const int64_t first = tile * kTile, end = first + kTile < in.tokens ? first + kTile : in.tokens;
    const int64_t from = tile == 0 ? -(K - 1) : first;  // inputs whose gradient this tile writes: [from, end)
    float dweight[K] = {}, dbias = 0, dinput[K] = {};   // dinput[k] of token t − (K−1) + k
    Window<K> window;
    for (int64_t t = first - (K - 1); t < first; ++t) window.push(in, b, t, i);
    for (int64_t t = first; t < end + K - 1; ++t) {
      for (int k = 0; k + 1 < K; ++k) dinput[k] = dinput[k + 1];
      dinput[K - 1] = 0;
      if (t < in.tokens) {
        window.push(in, b, t, i);
        const float c = window.convolve(weight, bias);
        const float dc = static_cast<float>(g.dy[b * in.tokens + t][i]) * silu_derivative(c);
        for (int k = 0; k < K; ++k) {
          if (k >= K - window.length) dinput[k] += dc * weight[k];
          if (t < end) dweight[k] += dc * window.x[k];
        }
        if (t < end) dbias += dc;
      }
      const int64_t s = t - (K - 1);  // nothing that follows reads it any more
      if (s < from || s >= end) continue;
      const int64_t r = s - (in.tokens - (K - 1));
      const float later = g.dtail_out && r >= 0 ? g.dtail_out[b * (K - 1) + r][i] : 0.0f;
      if (s >= 0) {
        g.dx[b * in.tokens + s][i] = static_cast<T>(dinput[0] + later);
      } else if (g.dtail_in) {
        g.dtail_in[(b + 1) * (K - 1) + s][i] = dinput[0] + later;
      }
    }
    float* partial = g.partial[b * tiles + tile] + i;
    for (int k = 0; k < K; ++k) partial[k * in.channels] = dweight[k];
    partial[K * in.channels] = dbias;
  }
}

dim3 grid_of(int64_t channels, int64_t batch, int64_t tiles) {
  return dim3(blocks_for(channels, kThreads), static_cast<unsigned>(tiles < 32768 ? tiles : 32768),
              static_cast<unsigned>(batch));
}

/// Calls f with the number of taps as a constant.
template <class F>
void for_taps(int64_t taps, F f) {
  switch (taps) {
    case 1: return f(std::integral_constant<int, 1>());
    case 2: return f(std::integral_constant<int, 2>());
    case 3: return f(std::integral_constant<int, 3>());
    case 4: return f(std::integral_constant<int, 4>());
    case 5: return f(std::integral_constant<int, 5>());
    case 6: return f(std::integral_constant<int, 6>());
    case 7: return f(std::integral_constant<int, 7>());
    case 8: return f(std::integral_constant<int, 8>());
    default:
      throw InputError("backend cuda: a convolution has at most 8 taps; this model has " +
                       std::to_string(taps));
  }
}

template <class T>
void forward(Context& ctx, const ConvSiluForward& a) {
  const Inputs<T> in(a.x, a.weight, a.bias, a.tail_in, a.doc_start);
  const int64_t batch = a.x.extent(0), tail = in.taps - 1;
  const int64_t tiles = (in.tokens + kTile - 1) / kTile;
  for_taps(in.taps, [&](auto taps) {
    launch(conv_forward_kernel<taps(), T>, grid_of(in.channels, batch, tiles), kThreads, 0, stream_of(ctx),
           in, Rows<T>(a.y));
  });
  if (!a.tail_out || tail == 0) return;
  const Rows<float> tail_out(a.tail_out);
  for_cells(ctx, batch * tail, in.channels, [=] __device__(int64_t r, int64_t i) {
    tail_out[r][i] = in.input(r / tail, in.tokens - tail + r % tail, i);
  });
}

template <class T>
void backward(Context& ctx, const ConvSiluBackward& a) {
  const Inputs<T> in(a.x, a.weight, a.bias, a.tail_in, a.doc_start);
  const int64_t batch = a.x.extent(0), tiles = (in.tokens + kTile - 1) / kTile, taps = in.taps,
                channels = in.channels;
  Arena::Frame frame(ctx.arena());
  const View partial = ctx.arena().take(Dtype::kF32, {batch * tiles, (taps + 1) * channels});
  const Gradients<T> g{Rows<T>(a.dy), Rows<T>(a.dx), Rows<float>(a.dtail_out), Rows<float>(a.dtail_in),
                       Rows<float>(partial)};
  for_taps(taps, [&](auto k) {
    launch(conv_backward_kernel<k(), T>, grid_of(channels, batch, tiles), kThreads, 0, stream_of(ctx), in, g,
           tiles);
  });
  const Rows<float> parts = g.partial;
  add_column_sums(ctx, batch * tiles, taps * channels, Rows<float>(a.dweight).data,
                  [=] __device__(int64_t r, int64_t c) {
                    return parts[r][c % taps * channels + c / taps];  // dweight is [I, K]
                  });
  if (a.dbias) {
    add_column_sums(ctx, batch * tiles, channels, Rows<float>(a.dbias).data,
                    [=] __device__(int64_t r, int64_t i) { return parts[r][taps * channels + i]; });
  }
}

}  // namespace

void conv_silu_forward(Context& ctx, const ConvSiluForward& a) {
  for_io(a.x.dtype, [&](auto zero) { forward<decltype(zero)>(ctx, a); });
}

void conv_silu_backward(Context& ctx, const ConvSiluBackward& a) {
  for_io(a.x.dtype, [&](auto zero) { backward<decltype(zero)>(ctx, a); });
}

void mask_conv_tail(Context& ctx, const MaskConvTail& a) {
  const Rows<float> tail(a.tail);
  const Rows<uint8_t> doc_start(a.doc_start);
  const int64_t tokens = a.doc_start.extent(1), length = a.tail.extent(1);
  for_warps(ctx, a.tail.extent(0), [=, channels = a.tail.cols()] __device__(int64_t b, int lane) {
    for (int64_t last = tokens; last > 0; last -= 32) {  // 32 tokens at a time, from the end
      const int64_t t = last - 1 - lane;
      const unsigned found = __ballot_sync(kAllLanes, t >= 0 && doc_start[b][t] != 0);
      if (found == 0) continue;
      int64_t start = last - 1;  // the last start: the lowest bit
      for (unsigned bits = found; (bits & 1u) == 0; bits >>= 1) --start;
      for (int64_t r = 0; r < length && tokens - length + r < start;
           ++r) {  // row r holds token T − (K−1) + r
        for (int64_t i = lane; i < channels; i += 32) tail[b * length + r][i] = 0;
      }
      return;
    }
  });
}

}  // namespace natrix::cuda
