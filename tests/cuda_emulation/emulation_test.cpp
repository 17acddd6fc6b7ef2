// The emulation catches what a GPU would punish, and lets right kernels be right under every order of
// execution.
#include <gtest/gtest.h>
#include <numeric>
#include <vector>

#include "cublas_v2.h"
#include "cuda_runtime.h"

namespace {

constexpr int kThreads = 64;

/// Device memory for `count` ints.
class Ints {
 public:
  explicit Ints(size_t count, int value = 0) : count_(count) {
    void* p = nullptr;
    EXPECT_EQ(cudaMalloc(&p, count * sizeof(int)), cudaSuccess);
    data = static_cast<int*>(p);
    const std::vector<int> values(count, value);
    EXPECT_EQ(cudaMemcpy(data, values.data(), count * sizeof(int), cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~Ints() { cudaFree(data); }
  std::vector<int> read() const {
    std::vector<int> values(count_);
    EXPECT_EQ(cudaMemcpy(values.data(), data, count_ * sizeof(int), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }
  int* data = nullptr;

 private:
  size_t count_;
};

template <class... P, class... A>
cudaError_t start(void (*kernel)(P...), dim3 grid, dim3 block, A... arguments) {
  cudaLaunchConfig_t config;
  config.gridDim = grid;
  config.blockDim = block;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

/// Each thread hands its number to its neighbour. Without the barrier, some order shows a number that is not
/// there yet.
template <bool with_barrier>
__global__ void hand_on(int* out) {
  __shared__ int hand[kThreads];
  const unsigned i = threadIdx.x;
  hand[i] = -1;
  __syncthreads();
  hand[i] = static_cast<int>(i);
  if (with_barrier) __syncthreads();
  out[blockIdx.x * kThreads + i] = hand[(i + 1) % kThreads];
}

/// Whether out was right under 20 orders.
template <class Run>
bool always(const std::vector<int>& want, const Run& run) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    cuda_emulation::set_seed(seed);
    Ints out(want.size());
    EXPECT_EQ(run(out.data), cudaSuccess) << cudaGetErrorString(cudaGetLastError());
    if (out.read() != want) return false;
  }
  return true;
}

TEST(CudaEmulation, BarriersAreKeptAndMissed) {
  std::vector<int> want;
  for (int b = 0; b < 3; ++b) {
    for (int i = 0; i < kThreads; ++i) want.push_back((i + 1) % kThreads);
  }
  EXPECT_TRUE(always(want, [](int* out) { return start(hand_on<true>, 3, kThreads, out); }));
  EXPECT_FALSE(always(want, [](int* out) { return start(hand_on<false>, 3, kThreads, out); }));
}

/// All threads write one cell, and the last one wins; the program means thread 0.
__global__ void race(int* out) {
  __shared__ int cell;
  cell = static_cast<int>(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = cell;
}

TEST(CudaEmulation, SharedMemoryRacesShow) {
  EXPECT_FALSE(always(std::vector<int>(kThreads, 0), [](int* out) { return start(race, 1, kThreads, out); }));
}

__global__ void store_at(int* out, int64_t index) {
  if (threadIdx.x == 0) out[index] = 7;
}

TEST(CudaEmulation, StoresJustBeyondTheEndAreReported) {
  Ints out(5);
  EXPECT_EQ(start(store_at, 1, 32, out.data, int64_t{4}), cudaSuccess);
  EXPECT_EQ(start(store_at, 1, 32, out.data, int64_t{5}), cudaErrorIllegalAddress);
  EXPECT_NE(
      std::string(cudaGetErrorString(cudaGetLastError())).find("wrote byte 20 of an allocation of 20 bytes"),
      std::string::npos);
}

TEST(CudaEmulationDeathTest, FarStoresFreedMemoryAndHostAccessEndTheProgram) {
  Ints out(5);
  EXPECT_DEATH(start(store_at, 1, 32, out.data, int64_t{128}), "out of bounds");
  EXPECT_DEATH(out.data[0] = 1, "host code touched device memory");
  void* freed = nullptr;
  cudaMalloc(&freed, 64);
  cudaFree(freed);
  EXPECT_DEATH(start(store_at, 1, 32, static_cast<int*>(freed), int64_t{0}), "freed memory");
}

__global__ void diverging_barrier() {
  if (threadIdx.x < 7) return;
  __syncthreads();
}

__global__ void absent_lanes(int* out) {
  if (threadIdx.x < 20) out[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
}

TEST(CudaEmulation, ThreadsThatWaitForeverAreReported) {
  EXPECT_EQ(start(diverging_barrier, 1, kThreads), cudaErrorLaunchFailure);
  EXPECT_NE(std::string(cudaGetErrorString(cudaGetLastError())).find("7 of 64 threads"), std::string::npos);
  Ints out(32);
  EXPECT_EQ(start(absent_lanes, 1, 32, out.data), cudaErrorLaunchFailure);
  EXPECT_NE(std::string(cudaGetErrorString(cudaGetLastError())).find("NATRIX_CUDA_SEED="), std::string::npos);
}

__global__ void warp_sums(int* out) {
  int sum = static_cast<int>(threadIdx.x);
  for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
  const unsigned odd = __ballot_sync(0xffffffffu, threadIdx.x % 2);
  const int above = __shfl_down_sync(0xffffffffu, static_cast<int>(threadIdx.x), 1u);
  out[threadIdx.x] =
      sum + (odd == 0xaaaaaaaau ? 1000 : 0) + (above == static_cast<int>(threadIdx.x) + 1 ? 5000 : 0);
}

TEST(CudaEmulation, WarpOperations) {
  std::vector<int> want;
  for (int i = 0; i < kThreads; ++i) {
    const int first = i / 32 * 32;
    want.push_back(32 * first + 31 * 16 + 1000 + (i % 32 == 31 ? 0 : 5000));
  }
  EXPECT_TRUE(always(want, [](int* out) { return start(warp_sums, 1, kThreads, out); }));
}

__global__ void count_threads(int* out) {
  atomicAdd(out, 1);
}

TEST(CudaEmulation, EveryThreadOfAThreeDimensionalGridRuns) {
  EXPECT_TRUE(always({3 * 4 * 2 * 5 * 2 * 3}, [](int* out) {
    return start(count_threads, {3, 4, 2}, {5, 2, 3}, out);
  }));
}

TEST(CudaEmulation, WhatNoGpuTakesIsRefused) {
  EXPECT_EQ(start(count_threads, 1, 1025, static_cast<int*>(nullptr)), cudaErrorInvalidConfiguration);
  EXPECT_EQ(start(count_threads, {0, 1, 1}, 1, static_cast<int*>(nullptr)), cudaErrorInvalidConfiguration);
  Ints device(4);
  int host[4] = {};
  EXPECT_EQ(cudaMemcpy(host, device.data, sizeof host, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_NE(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

}  // namespace
