// Access to four neighbouring columns of a row at a time, for kernels bound by memory bandwidth. In f32 a
// thread loads 16 bytes and a warp 512; with one column per thread a warp would load 128. In bf16 a warp
// loads 256 instead of 64.
//
// A kernel is written once in terms of Quads and built twice. The whole version needs operands whose four
// columns are one aligned load. The ragged version goes element by element and skips columns past the end of
// the row. Both give a thread the same columns and sum in the same order, so no bit depends on alignment.
#pragma once

#include <initializer_list>

#include "kernels/cuda/launch.h"

namespace natrix::cuda {

constexpr int kQuad = 4;

/// Four f32 values for arithmetic, whatever the stored dtype.
struct Quad {
  float v[kQuad];

  __device__ float& operator[](int k) { return v[k]; }
  __device__ float operator[](int k) const { return v[k]; }
  __device__ Quad& operator+=(const Quad& other) {
    for (int k = 0; k < kQuad; ++k) v[k] += other.v[k];
    return *this;
  }
  __device__ float sum() const { return (v[0] + v[1]) + (v[2] + v[3]); }
};

/// The Quad f(0), …, f(3).
template <class F>
__device__ Quad each(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}
__device__ inline Quad all(float x) {
  return {{x, x, x, x}};
}

template <class T>
struct alignas(kQuad * sizeof(T)) StoredQuad {
  T v[kQuad];
};

/// Columns first, …, first + 3 of a row with `cols` columns.
template <bool whole>
struct Columns {
  int64_t first, cols;

  __device__ bool has(int k) const { return whole || first + k < cols; }

  /// Columns past the end read as `padding`.
  template <class T>
  __device__ Quad load(const T* row, float padding = 0) const {
    if constexpr (whole) {
      const auto stored = *reinterpret_cast<const StoredQuad<T>*>(row + first);
      return each([&](int k) { return static_cast<float>(stored.v[k]); });
    } else {
      return each([&](int k) { return has(k) ? static_cast<float>(row[first + k]) : padding; });
    }
  }

  template <class T>
  __device__ void store(T* row, const Quad& x) const {
    if constexpr (whole) {
      StoredQuad<T> stored;
      for (int k = 0; k < kQuad; ++k) stored.v[k] = static_cast<T>(x[k]);
      *reinterpret_cast<StoredQuad<T>*>(row + first) = stored;
    } else {
      for (int k = 0; k < kQuad; ++k) {
        if (has(k)) row[first + k] = static_cast<T>(x[k]);
      }
    }
  }
};

/// Whether `cols` columns of all given views can be accessed as whole quads.
inline bool whole_quads(int64_t cols, std::initializer_list<View> operands) {
  if (cols % kQuad != 0) return false;
  for (const View& v : operands) {
    const auto bytes = static_cast<uintptr_t>(kQuad * size_of(v.dtype));
    if (reinterpret_cast<uintptr_t>(v.data) % bytes != 0) return false;
    if (v.data != nullptr && v.rows() > 1 && v.row_stride % kQuad != 0) return false;
  }
  return true;
}
inline int64_t quads_of(int64_t cols) {
  return (cols + kQuad - 1) / kQuad;
}

template <bool whole, class F>
__global__ void quads_kernel(int64_t rows, int64_t cols, F f) {
  const Columns<whole> c{(int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kQuad, cols};
  if (c.first >= cols) return;
  const int64_t step = int64_t{gridDim.y} * blockDim.y;
  for (int64_t r = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; r < rows; r += step) f(r, c);
}

/// Calls f(r, columns) for every quad of a matrix. `operands` are the views that f accesses.
template <class F>
void for_quads(Context& ctx, int64_t rows, int64_t cols, std::initializer_list<View> operands, F f) {
  if (rows == 0 || cols == 0) return;
  const CellGrid shape(rows, quads_of(cols));
  const auto kernel = whole_quads(cols, operands) ? quads_kernel<true, F> : quads_kernel<false, F>;
  launch(kernel, shape.grid, shape.block, 0, stream_of(ctx), rows, cols, f);
}

/// The columns of a row, divided among the lanes of a warp.
template <bool whole>
struct WarpRow {
  int lane;
  int64_t cols;

  /// Calls f(columns) for this lane's quads, in order.
  template <class F>
  __device__ void for_quads(F f) const {
    for_quads(0, cols, f);
  }
  /// The same for columns [begin, begin + count); begin must be a multiple of four.
  template <class F>
  __device__ void for_quads(int64_t begin, int64_t count, F f) const {
    const int64_t end = begin + count < cols ? begin + count : cols;
    for (int64_t c = begin + int64_t{lane} * kQuad; c < end; c += 32 * kQuad) f(Columns<whole>{c, cols});
  }
};

template <bool whole, class F>
__global__ void warp_rows_kernel(int64_t count, int64_t cols, F f) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (i < count) f(i, WarpRow<whole>{static_cast<int>(threadIdx.x), cols});
}

/// Calls f(i, row) in a warp of 32 lanes for every i.
template <class F>
void for_warp_rows(Context& ctx, int64_t count, int64_t cols, std::initializer_list<View> operands, F f) {
  if (count == 0) return;
  const auto kernel = whole_quads(cols, operands) ? warp_rows_kernel<true, F> : warp_rows_kernel<false, F>;
  launch(kernel, blocks_for(count, kWarpsOfABlock), dim3(32, kWarpsOfABlock), 0, stream_of(ctx), count, cols,
         f);
}

}  // namespace natrix::cuda
