// The selective scan, split in time. A tile of tokens acts on the state as an affine map. All
// tiles are therefore summarised in parallel, a prefix over tiles gives their initial states, and
// each tile is then replayed:
//
//   1. summarise_tiles   every tile's Σ dt and the state reached from zero (backwards: the state's gradient)
//   2. prefix_tiles      the state before each tile, and the state after the last one
//   3. the tile kernels of scan.cu and scan_backward.cu
//
// B sequences, T tokens, I channels, N states. A is used as A₂ = −exp(A_log) log₂e, so
// that a decay is one exp2.
#pragma once

#include "kernels/cuda/quads.h"
#include "kernels/scan.h"

namespace natrix::cuda {

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
/// Marks a tile in which a document starts; it replaces Σ dt, which is never negative.
constexpr float kReset = -1;

/// 2^x for x ≤ 0 in one instruction; results below 2^-126 are zero. exp2f needs three more instructions to
/// handle those, and the scan would then be bound by instruction issue instead of by its exponentials.
__device__ inline float decay_of(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

/// Clears the state where a document starts.
template <int n>
__device__ void reset(float (&h)[n]) {
  for (float& x : h) x = 0;
}

/// What every scan kernel reads, except x, which may be bf16.
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

/// States [I, N] in the caller's layout, one per sequence. An empty view reads as zero.
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

/// One state per tile, channels innermost: threads of neighbouring channels access neighbouring addresses.
struct Tiles {
  float *state = nullptr, *steps = nullptr;  // [B, tiles, N, I] and Σ dt [B, tiles, I]
  int64_t length = 0, count = 0;             // tokens in a tile; tiles in a sequence
  int64_t channels = 0, states = 0;

  __host__ __device__ explicit operator bool() const { return state != nullptr; }
  __device__ float& at(int64_t b, int64_t tile, int64_t n, int64_t i) const {
    return state[((b * count + tile) * states + n) * channels + i];
  }
  __device__ float& step(int64_t b, int64_t tile, int64_t i) const {
    return steps[(b * count + tile) * channels + i];
  }
};

/// Allocates the tiles in the arena.
Tiles take_tiles(Context& ctx, const ScanInputs& in, int64_t length);

enum class Direction { kForward, kBackward };  // in time

/// Computes the map of every tile. Forward, it maps the state and uses x and B. Backward, it maps the state's
/// gradient and uses dy and C. `values` is x or dy, f32 or bf16; `vectors` is B or C.
void summarise_tiles(Context& ctx, const ScanInputs& in, const Tiles& tiles, Direction direction, View values,
                     View vectors);

/// Replaces every tile's state by the state it starts from. `before` is the state before the
/// first tile in direction of time. Writes the state after the last tile to `after`, and the
/// decay over all tiles to `decay`.
void prefix_tiles(Context& ctx, const ScanInputs& in, const Tiles& tiles, Direction direction, View before,
                  View after, View decay = {});

}  // namespace natrix::cuda
