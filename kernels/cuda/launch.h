// How the kernels of this folder are launched, and their building blocks. The emulation
// (tests/cuda_emulation) relies on two conventions: launch() below, and dynamic_shared<T>().
//
// Kernels see a View as Rows<T>, indexed by row. Every offset is int64_t.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/context.h"

namespace natrix::cuda {

/// Throws RunError naming `what` and the error unless the call succeeded.
void check(cudaError_t error, const char* what);
cudaStream_t stream_of(Context& ctx);
int multiprocessors(Context& ctx);

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            Arguments&&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Arguments&&>(arguments)...), "launch");
}

/// The block's dynamic shared memory, as one array. A kernel that needs several arrays divides it itself.
template <class T>
__device__ T* dynamic_shared() {
#ifdef NATRIX_CUDA_EMULATED
  return static_cast<T*>(cuda_emulation::dynamic_shared_memory());
#else
  extern __shared__ __align__(16) unsigned char natrix_dynamic_shared[];
  return reinterpret_cast<T*>(natrix_dynamic_shared);
#endif
}

/// Throws ContractError if kernels cannot reach p.
void check_reachable(const void* p);

template <class T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;

  Rows() = default;
  explicit Rows(View v) : data(v.as<T>()), stride(v.row_stride) { check_reachable(data); }
  __host__ __device__ explicit operator bool() const { return data != nullptr; }
  __device__ T* operator[](int64_t r) const { return data + r * stride; }
};

/// Calls f with a zero of the C++ type for activations of `dtype`. Kernels are instantiated for f32 and
/// bf16, and compute in f32.
template <class F>
void for_io(Dtype dtype, F&& f) {
  if (dtype == Dtype::kBF16) return f(BFloat16{});
  require(dtype == Dtype::kF32, "backend cuda has activations in f32 and bf16");
  f(float{});
}

inline unsigned blocks_for(int64_t count, int64_t per_block) {
  const int64_t blocks = (count + per_block - 1) / per_block;
  require(blocks < (int64_t{1} << 31), "a grid of more than 2^31 blocks");
  return static_cast<unsigned>(blocks);
}

constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float warp_sum(float x) {
  for (int bits = 16; bits > 0; bits /= 2) x += __shfl_xor_sync(kAllLanes, x, bits);
  return x;
}
__device__ inline float warp_max(float x) {
  for (int bits = 16; bits > 0; bits /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, bits));
  return x;
}

/// A grid of blocks of 256 threads for a matrix. Neighbouring threads take neighbouring columns. Columns go
/// along x, the only grid extent that may be large: a vector of parameters is one long row.
struct CellGrid {
  dim3 grid, block;

  CellGrid(int64_t rows, int64_t cols) {
    constexpr unsigned kThreads = 256;
    constexpr int64_t kMostRowBlocks = 65535;
    unsigned width = 1;
    while (width < cols && width < kThreads) width *= 2;
    const unsigned height = kThreads / width;
    const int64_t row_blocks = (rows + height - 1) / height;
    block = dim3(width, height);
    grid = dim3(blocks_for(cols, width),
                static_cast<unsigned>(row_blocks < kMostRowBlocks ? row_blocks : kMostRowBlocks));
  }
};

template <class F>
__global__ void cells_kernel(int64_t rows, int64_t cols, F f) {
  const int64_t c = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  const int64_t step = int64_t{gridDim.y} * blockDim.y;
  for (int64_t r = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; r < rows; r += step) f(r, c);
}

/// Calls f(r, c) for every cell of a matrix.
template <class F>
void for_cells(Context& ctx, int64_t rows, int64_t cols, F f) {
  if (rows == 0 || cols == 0) return;
  const CellGrid shape(rows, cols);
  launch(cells_kernel<F>, shape.grid, shape.block, 0, stream_of(ctx), rows, cols, f);
}

template <class F>
__global__ void warps_kernel(int64_t count, F f) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (i < count) f(i, static_cast<int>(threadIdx.x));
}

constexpr unsigned kWarpsOfABlock = 4;

/// Calls f(i, lane) in a warp of 32 lanes for every i.
template <class F>
void for_warps(Context& ctx, int64_t count, F f) {
  if (count == 0) return;
  launch(warps_kernel<F>, blocks_for(count, kWarpsOfABlock), dim3(32, kWarpsOfABlock), 0, stream_of(ctx),
         count, f);
}

}  // namespace natrix::cuda
