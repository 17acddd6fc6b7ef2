// Softmax cross-entropy, one block per row. Logits are read three times (maximum, sum, gradient). A tile of
// the head is small enough to stay in the cache.
#include "kernels/cuda/quads.h"
#include "kernels/loss.h"

namespace natrix::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

/// Combines x over all threads of the block and returns the result to all of them.
template <class Combine>
__device__ float over_block(float x, float* shared, Combine combine) {
  for (int bits = 16; bits > 0; bits /= 2) x = combine(x, __shfl_xor_sync(kAllLanes, x, bits));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[0];
  for (int w = 1; w < kWarps; ++w) x = combine(x, shared[w]);
  __syncthreads();  // before shared is used again
  return x;
}

template <bool whole, class T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(Rows<float> logits, Rows<int64_t> targets, Rows<double> loss, Rows<T> dlogits,
                         int64_t vocabulary, float scale) {
  __shared__ float shared[kWarps];
  const auto for_columns = [&](auto f) {
    for (int64_t c = int64_t{threadIdx.x} * kQuad; c < vocabulary; c += kThreads * kQuad) {
      f(Columns<whole>{c, vocabulary});
    }
  };
  const int64_t r = blockIdx.x, target = targets.data[r];
  if (target == kIgnoreTarget) {
    if (dlogits) for_columns([&](auto c) { c.store(dlogits[r], all(0)); });
    if (threadIdx.x == 0) loss.data[r] = 0;
    return;
  }
  const float* x = logits[r];
  float most = x[0];
  for_columns([&](auto c) {
    const Quad x_c = c.load(x, -INFINITY);
    for (int k = 0; k < kQuad; ++k) most = fmaxf(most, x_c[k]);
  });
  most = over_block(most, shared, [](float a, float b) { return fmaxf(a, b); });
  const auto exponentials = [&](const Quad& x_c) { return each([&](int k) { return expf(x_c[k] - most); }); };
  float sum = 0;
  for_columns([&](auto c) { sum += exponentials(c.load(x, -INFINITY)).sum(); });
  sum = over_block(sum, shared, [](float a, float b) { return a + b; });
  if (threadIdx.x == 0) {
    loss.data[r] = static_cast<double>(most) + log(static_cast<double>(sum)) - static_cast<double>(x[target]);
  }
  if (!dlogits) return;
  __syncthreads();  // dlogits may alias logits
  for_columns([&](auto c) {
    const Quad e = exponentials(c.load(x));
    c.store(dlogits[r],
            each([&](int k) { return scale * (e[k] / sum - (c.first + k == target ? 1.0f : 0.0f)); }));
  });
}

}  // namespace

void cross_entropy(Context& ctx, const CrossEntropy& a) {
  if (a.logits.rows() == 0) return;
  for_io(a.dlogits ? a.dlogits.dtype : Dtype::kF32, [&](auto zero) {
    using T = decltype(zero);
    const bool whole = whole_quads(a.logits.cols(), {a.logits, a.dlogits});
    launch(whole ? cross_entropy_kernel<true, T> : cross_entropy_kernel<false, T>,
           blocks_for(a.logits.rows(), 1), kThreads, 0, stream_of(ctx), Rows<float>(a.logits),
           Rows<int64_t>(a.targets), Rows<double>(a.loss), Rows<T>(a.dlogits), a.logits.cols(),
           static_cast<float>(a.scale));
  });
}

}  // namespace natrix::cuda
