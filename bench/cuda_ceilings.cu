// The ceilings of a device: copying and summing arrays larger than its cache, cuBLAS's largest products, and
// exponentials in registers.
#include <algorithm>
#include <chrono>

#include "bench/ceilings.h"
#include "kernels/activation.h"
#include "kernels/base/transfer.h"
#include "kernels/cuda/scan_tiles.h"
#include "kernels/matmul.h"
#include "kernels/optim.h"

namespace natrix::bench {
namespace {

constexpr int kThreads = 256, kBlocksEach = 8, kChains = 4;

/// kChains chains of exponentials. Each result is the argument of the next: x, 2^-x, … stays within (0, 1].
__global__ void __launch_bounds__(kThreads) exps_kernel(int rounds, float* sink) {
  float x[kChains];
  for (int k = 0; k < kChains; ++k) x[k] = static_cast<float>(threadIdx.x + k) * 1e-3f;
  for (int i = 0; i < rounds; ++i) {
    for (int k = 0; k < kChains; ++k) x[k] = cuda::decay_of(-x[k]);
  }
  float sum = 0;
  for (int k = 0; k < kChains; ++k) sum += x[k];
  if (sum < 0) *sink = sum;  // never true, but the compiler does not know
}

/// `amount` per run, divided by the time of the fastest of several runs.
template <class F>
double best_rate(Context& ctx, double amount, F run) {
  constexpr int kAttempts = 10, kTogether = 5;
  const Buffer last(Dtype::kU8, {1}, Memory::kDevice), here(Dtype::kU8, {1});
  const auto wait = [&] { download(ctx, last.view(), here.view()); };
  double best = 0;
  for (int i = 0; i < kAttempts; ++i) {
    wait();
    const auto start = std::chrono::steady_clock::now();
    for (int k = 0; k < kTogether; ++k) run();
    wait();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, kTogether * amount / seconds);
  }
  return best;
}

double product_rate(Context& ctx, Dtype dtype, int64_t n) {
  const Buffer a(dtype, {n, n}, Memory::kDevice), b(dtype, {n, n}, Memory::kDevice),
      c(dtype, {n, n}, Memory::kDevice);
  const auto side = static_cast<double>(n);
  return best_rate(ctx, 2 * side * side * side,
                   [&] { matmul(ctx, {.a = a.view(), .b = b.view(), .c = c.view(), .transpose_b = true}); });
}

double exp_rate(Context& ctx, int rounds) {
  const Buffer sink(Dtype::kF32, {1}, Memory::kDevice);
  const auto blocks = static_cast<unsigned>(kBlocksEach * cuda::multiprocessors(ctx));
  return best_rate(ctx, static_cast<double>(blocks) * kThreads * kChains * rounds, [&] {
    cuda::launch(exps_kernel, blocks, kThreads, 0, cuda::stream_of(ctx), rounds, sink.view().as<float>());
  });
}

}  // namespace

Ceilings measure_device(Context& ctx, bool quick) {
  const int64_t bytes = quick ? 1 << 16 : int64_t{1} << 30, side = quick ? 32 : 8192;
  const Buffer from(Dtype::kF32, {bytes / 4}, Memory::kDevice), to(Dtype::kF32, {bytes / 4}, Memory::kDevice),
      sum(Dtype::kF64, {1}, Memory::kDevice);
  const auto size = static_cast<double>(bytes);
  const double copied = best_rate(ctx, 2 * size, [&] {
    cuda::check(cudaMemcpyAsync(to.view().data, from.view().data, static_cast<size_t>(bytes),
                                cudaMemcpyDeviceToDevice, cuda::stream_of(ctx)),
                "copy");
  });
  const double by_kernel =
      best_rate(ctx, 2 * size, [&] { cast(ctx, {.from = from.view(), .to = to.view()}); });
  return {.flops = product_rate(ctx, Dtype::kF32, side),
          .bf16_flops = product_rate(ctx, Dtype::kBF16, side),
          .exps = exp_rate(ctx, quick ? 4 : 20000),
          .bytes = std::max(copied, by_kernel),
          .reads = best_rate(ctx, size, [&] { squared_norm(ctx, {.x = from.view(), .sum = sum.view()}); })};
}

}  // namespace natrix::bench
