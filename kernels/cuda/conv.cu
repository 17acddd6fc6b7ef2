// The causal convolution, channels last. A thread has four channels, so that a warp reads 128
// neighbouring channels of a token. It walks a tile of tokens with the last K inputs in registers and
// loads inputs kAhead tokens ahead. Bytes per channel and token, forward: 4 read and 4 written (2 and 2
// in bf16), and (K − 1) / tile more of reading for the inputs before the tile. The exponential of SiLU
// hides behind the memory traffic.
//
// Backward walks the same tiles and recomputes the pre-activations. The input gradients of a tile depend on
// the K − 1 tokens that follow it, so the walk continues into those tokens.
#include "kernels/base/functions.h"
#include "kernels/conv.h"
#include "kernels/cuda/column_sums.h"

namespace natrix::cuda {
namespace {

constexpr int kLanes = 32, kTilesOfABlock = 4, kThreads = kLanes * kTilesOfABlock;
constexpr int kAhead = 4, kAheadBackward = 2;  // in tokens; backward loads x and dy

/// T: dtype of x, y and their gradients.
template <class T>
struct Inputs {
  Rows<T> x;
  Rows<float> weight, bias, tail;
  Rows<uint8_t> doc_start;
  int64_t batch, tokens, channels, taps;
  int64_t tile = 0, tiles = 0;  // tokens in a tile; tiles in a sequence

  Inputs(Context& ctx, View x_, View weight_, View bias_, View tail_in, View doc_start_)
      : x(x_),
        weight(weight_),
        bias(bias_),
        tail(tail_in),
        doc_start(doc_start_),
        batch(x_.extent(0)),
        tokens(x_.extent(1)),
        channels(x_.extent(2)),
        taps(weight_.extent(1)) {
    // Short tiles read more of their neighbours' inputs, from the cache. Long tiles leave
    // multiprocessors idle.
    constexpr int64_t kShort = 16, kLong = 64, kFullThreads = 512;
    const int64_t threads = batch * quads_of(channels) * ((tokens + kLong - 1) / kLong);
    tile = threads < kFullThreads * multiprocessors(ctx) ? kShort : kLong;
    tiles = (tokens + tile - 1) / tile;
  }

  /// x_t, where t counts from −(K−1).
  template <bool whole>
  __device__ Quad input(int64_t b, int64_t t, Columns<whole> i) const {
    if (t >= 0) return i.load(x[b * tokens + t]);
    return tail ? i.load(tail[(b + 1) * (taps - 1) + t]) : all(0);
  }
  __device__ bool starts(int64_t b, int64_t t) const { return doc_start && t >= 0 && doc_start[b][t] != 0; }
};

template <int K>
struct Filter {
  Quad weight[K], bias;

  template <bool whole, class T>
  __device__ Filter(const Inputs<T>& in, Columns<whole> i) : bias(in.bias ? i.load(in.bias[0]) : all(0)) {
    for (int k = 0; k < K; ++k) {
      weight[k] = each([&](int c) { return i.has(c) ? in.weight[i.first + c][k] : 0.0f; });
    }
  }
};

/// The last K inputs. Inputs of earlier documents are zero.
template <int K>
struct Window {
  Quad x[K] = {};
  int length = 0;  // inputs of the current document, at most K

  __device__ void push(bool starts, const Quad& next) {
    if (starts) {
      length = 0;
      for (int k = 0; k < K; ++k) x[k] = all(0);
    }
    for (int k = 0; k + 1 < K; ++k) x[k] = x[k + 1];
    x[K - 1] = next;
    if (length < K) ++length;
  }
  /// Loads the K − 1 inputs before a tile.
  template <bool whole, class T>
  __device__ void fill(const Inputs<T>& in, int64_t b, int64_t first, Columns<whole> i) {
    for (int64_t t = first - (K - 1); t < first; ++t) push(in.starts(b, t), in.input(b, t, i));
  }
  __device__ Quad convolve(const Filter<K>& filter) const {
    Quad c = filter.bias;
    for (int k = 0; k < K; ++k) {
      for (int lane = 0; lane < kQuad; ++lane) c[lane] += filter.weight[k][lane] * x[k][lane];
    }
    return c;
  }
};

template <bool whole, class T>
__device__ Columns<whole> columns_of_thread(const Inputs<T>& in) {
  return {(int64_t{blockIdx.x} * kLanes + threadIdx.x) * kQuad, in.channels};
}

/// Without the bound on blocks, nvcc 13 spills a few bytes of registers to fit a fifth block.
template <int K, bool whole, class T>
__global__ void __launch_bounds__(kThreads, K <= 6 ? 4 : 3) conv_forward_kernel(Inputs<T> in, Rows<T> y) {
  const auto i = columns_of_thread<whole>(in);
  if (i.first >= in.channels) return;
  const int64_t b = blockIdx.z;
  const Filter<K> filter(in, i);
  const int64_t step = int64_t{gridDim.y} * kTilesOfABlock;
  for (int64_t tile = int64_t{blockIdx.y} * kTilesOfABlock + threadIdx.y; tile < in.tiles; tile += step) {
    const int64_t first = tile * in.tile, end = first + in.tile < in.tokens ? first + in.tile : in.tokens;
    Window<K> window;
    window.fill(in, b, first, i);
    for (int64_t from = first; from < end; from += kAhead) {
      Quad x[kAhead] = {};
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        if (from + j < end) x[j] = i.load(in.x[b * in.tokens + from + j]);
      }
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        const int64_t t = from + j;
        if (t >= end) break;
        window.push(in.starts(b, t), x[j]);
        const Quad c = window.convolve(filter);
        i.store(y[b * in.tokens + t], each([&](int k) { return c[k] * sigmoid(c[k]); }));
      }
    }
  }
}

/// Destinations of gradients. `partial` has a row for each sequence and tile; for each channel, K sums for
/// the taps and one for the bias.
template <class T>
struct Gradients {
  Rows<T> dy, dx;
  Rows<float> dtail_out, dtail_in, partial;
};

/// Stores the gradient of input s, after the last token that reads it.
template <int K, bool whole, class T>
__device__ void store_input_gradient(const Inputs<T>& in, const Gradients<T>& g, int64_t b, int64_t s,
                                     Columns<whole> i, Quad dinput) {
  const int64_t r = s - (in.tokens - (K - 1));
  if (g.dtail_out && r >= 0) dinput += i.load(g.dtail_out[b * (K - 1) + r]);
  if (s >= 0) {
    i.store(g.dx[b * in.tokens + s], dinput);
  } else if (g.dtail_in) {
    i.store(g.dtail_in[(b + 1) * (K - 1) + s], dinput);
  }
}

template <int K, bool whole, class T>
__global__ void __launch_bounds__(kThreads) conv_backward_kernel(Inputs<T> in, Gradients<T> g) {
  const auto i = columns_of_thread<whole>(in);
  if (i.first >= in.channels) return;
  const int64_t b = blockIdx.z;
  const Filter<K> filter(in, i);
  const int64_t step = int64_t{gridDim.y} * kTilesOfABlock;
  for (int64_t tile = int64_t{blockIdx.y} * kTilesOfABlock + threadIdx.y; tile < in.tiles; tile += step) {
    const int64_t first = tile * in.tile, end = first + in.tile < in.tokens ? first + in.tile : in.tokens;
    const int64_t from = tile == 0 ? -(K - 1) : first;  // this tile writes gradients [from, end)
    Quad dweight[K] = {}, dbias = {}, dinput[K] = {};   // dinput[k] belongs to token t − (K−1) + k
    Window<K> window;
    window.fill(in, b, first, i);
    for (int64_t begin = first; begin < end + K - 1; begin += kAheadBackward) {
      Quad x[kAheadBackward] = {}, dy[kAheadBackward] = {};
#pragma unroll
      for (int j = 0; j < kAheadBackward; ++j) {
        const int64_t t = begin + j;
        if (t >= end + K - 1 || t >= in.tokens) continue;
        x[j] = i.load(in.x[b * in.tokens + t]);
        dy[j] = i.load(g.dy[b * in.tokens + t]);
      }
#pragma unroll
      for (int j = 0; j < kAheadBackward; ++j) {
        const int64_t t = begin + j, s = t - (K - 1);
        if (t >= end + K - 1) break;
        for (int k = 0; k + 1 < K; ++k) dinput[k] = dinput[k + 1];
        dinput[K - 1] = all(0);
        if (t < in.tokens) {
          window.push(in.starts(b, t), x[j]);
          const Quad c = window.convolve(filter);
          const Quad dc = each([&](int lane) { return dy[j][lane] * silu_derivative(c[lane]); });
          for (int k = 0; k < K; ++k) {
            for (int lane = 0; lane < kQuad; ++lane) {
              if (k >= K - window.length) dinput[k][lane] += dc[lane] * filter.weight[k][lane];
              if (t < end) dweight[k][lane] += dc[lane] * window.x[k][lane];
            }
          }
          if (t < end) dbias += dc;
        }
        if (s >= from && s < end) store_input_gradient<K>(in, g, b, s, i, dinput[0]);
      }
    }
    float* partial = g.partial[b * in.tiles + tile];
    for (int k = 0; k < K; ++k) i.store(partial + k * in.channels, dweight[k]);
    i.store(partial + K * in.channels, dbias);
  }
}

template <class T>
dim3 grid_of(const Inputs<T>& in) {
  const int64_t rows = (in.tiles + kTilesOfABlock - 1) / kTilesOfABlock;
  return dim3(blocks_for(quads_of(in.channels), kLanes), static_cast<unsigned>(rows < 32768 ? rows : 32768),
              static_cast<unsigned>(in.batch));
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
  const Inputs<T> in(ctx, a.x, a.weight, a.bias, a.tail_in, a.doc_start);
  const bool whole = whole_quads(in.channels, {a.x, a.bias, a.tail_in, a.y});
  for_taps(in.taps, [&](auto taps) {
    constexpr int K = taps();
    launch(whole ? conv_forward_kernel<K, true, T> : conv_forward_kernel<K, false, T>, grid_of(in),
           dim3(kLanes, kTilesOfABlock), 0, stream_of(ctx), in, Rows<T>(a.y));
  });
  const int64_t tail = in.taps - 1;
  if (!a.tail_out || tail == 0) return;
  const Rows<float> tail_out(a.tail_out);
  for_quads(ctx, in.batch * tail, in.channels, {a.x, a.tail_in, a.tail_out},
            [=] __device__(int64_t r, auto i) {
              i.store(tail_out[r], in.input(r / tail, in.tokens - tail + r % tail, i));
            });
}

template <class T>
void backward(Context& ctx, const ConvSiluBackward& a) {
  const Inputs<T> in(ctx, a.x, a.weight, a.bias, a.tail_in, a.doc_start);
  const int64_t taps = in.taps, channels = in.channels, rows = in.batch * in.tiles;
  Arena::Frame frame(ctx.arena());
  const View partial = ctx.arena().take(Dtype::kF32, {rows, (taps + 1) * channels});
  const Gradients<T> g{Rows<T>(a.dy), Rows<T>(a.dx), Rows<float>(a.dtail_out), Rows<float>(a.dtail_in),
                       Rows<float>(partial)};
  const bool whole = whole_quads(channels, {a.x, a.bias, a.tail_in, a.dy, a.dx, a.dtail_out, a.dtail_in});
  for_taps(taps, [&](auto k) {
    constexpr int K = k();
    launch(whole ? conv_backward_kernel<K, true, T> : conv_backward_kernel<K, false, T>, grid_of(in),
           dim3(kLanes, kTilesOfABlock), 0, stream_of(ctx), in, g);
  });
  const Rows<float> parts = g.partial;
  float *dweight = Rows<float>(a.dweight).data, *dbias = Rows<float>(a.dbias).data;
  add_column_sums(
      ctx, rows, (taps + 1) * channels, {partial},
      [=] __device__(int64_t r, auto c) { return c.load(parts[r]); },
      [=] __device__(int64_t c) -> float* {
        const int64_t k = c / channels, i = c % channels;
        if (k < taps) return dweight + i * taps + k;  // [I, K]
        return dbias != nullptr ? dbias + i : nullptr;
      });
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
      // Row r holds token T − (K−1) + r.
      for (int64_t r = 0; r < length && tokens - length + r < start; ++r) {
        for (int64_t i = lane; i < channels; i += 32) tail[b * length + r][i] = 0;
      }
      return;
    }
  });
}

}  // namespace natrix::cuda
