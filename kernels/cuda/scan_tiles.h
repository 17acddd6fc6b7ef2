// The selective scan, split in time. A tile of tokens is an affine map of the state, so tiles can be
// summarised side by side, their states found by a prefix over tiles, and each replayed from its own state:
//
//   1. summarise_tiles   Σ dt and the state reached from zero, of every tile (backwards: the gradient's
//   state)
//   2. prefix_tiles      the state that each tile starts from; the state after the last one
//   3. the tile kernels of scan.cu and scan_backward.cu
//
// B sequences, T tokens, I channels, N states. A is used as A₂ = −exp(A_log) log₂e, so that a decay is one
// exp2.
#pragma once

#include "kernels/cuda/quads.h"
#include "kernels/scan.h"

namespace natrix::cuda {

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
constexpr float kReset =
    -1;  // in place of a tile's Σ dt, which is never negative: a document starts in the tile

/// 2^x of x ≤ 0 in one instruction; what is less than 2^-126 is zero. exp2f's three more around it, for
/// those, would make the scan bound by the rate of issue instead of by its exponentials.
__device__ inline float decay_of(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

/// Where a document starts, nothing is left of what came before.
template <int n>
__device__ void reset(float (&h)[n]) {
  for (float& x : h) x = 0;
}

/// What every kernel of the scan reads, besides x, which may be bf16.
struct ScanInputs {
  Rows<float> dt, A_log, B, C;
  Rows<uint8_t> doc_start;
  int64_t batch, tokens, channels, states;

  ScanInputs(View dt_, View A_log_, View B_, View C_, View doc_start_)
      : dt(dt_),
        A_log(A_log_),
        B(B_),
        C(C_),
        doc_start(doc_start_),
        batch(dt_.extent(0)),
        tokens(dt_.extent(1)),
        channels(dt_.extent(2)),
        states(A_log_.extent(1)) {}

  __device__ bool starts(int64_t b, int64_t t) const { return doc_start && doc_start[b][t] != 0; }
  __device__ float rate(int64_t i, int64_t n) const { return -expf(A_log[i][n]) * kLog2E; }  // A₂
};

/// One state [I, N] a sequence, as callers have it; or nothing, which reads as zero.
struct StateView {
  float* data = nullptr;
  int64_t channels = 0, states = 0;

  StateView() = default;
  explicit StateView(View v)
      : data(Rows<float>(v).data), channels(v ? v.extent(1) : 0), states(v ? v.extent(2) : 0) {}
  __host__ __device__ explicit operator bool() const { return data != nullptr; }
  __device__ float& at(int64_t b, int64_t i, int64_t n) const {
    return data[(b * channels + i) * states + n];
  }
  __device__ float load(int64_t b, int64_t i, int64_t n) const {
    return data != nullptr ? at(b, i, n) : 0.0f;
  }
};

/// A state a tile, channels innermost, so that threads of neighbouring channels touch neighbouring addresses.
struct Tiles {
  float *state = nullptr, *steps = nullptr;  // [B, tiles, N, I] and Σ dt [B, tiles, I]
  int64_t length = 0, count = 0;             // tokens of a tile; tiles of a sequence
  int64_t channels = 0, states = 0;

  __host__ __device__ explicit operator bool() const { return state != nullptr; }
  __device__ float& at(int64_t b, int64_t tile, int64_t n, int64_t i) const {
    return state[((b * count + tile) * states + n) * channels + i];
  }
  __device__ float& step(int64_t b, int64_t tile, int64_t i) const {
    return steps[(b * count + tile) * channels + i];
  }
};

/// Room for the tiles, in the arena.
Tiles take_tiles(Context& ctx, const ScanInputs& in, int64_t length);

enum class Direction { kForward, kBackward };  // in time

/// The map of every tile. Forward it is that of the state and needs x and B; backward, that of the state's
/// gradient, and dy and C. `values` is x or dy, f32 or bf16; `vectors` B or C.
void summarise_tiles(Context& ctx, const ScanInputs& in, const Tiles& tiles, Direction direction, View values,
                     View vectors);

/// Replaces every tile's state by the one it starts from, given the one before the first (in direction of
/// time); writes the one after the last, and the decay over all tiles.
void prefix_tiles(Context& ctx, const ScanInputs& in, const Tiles& tiles, Direction direction, View before,
                  View after, View decay = {});

}  // namespace natrix::cuda
