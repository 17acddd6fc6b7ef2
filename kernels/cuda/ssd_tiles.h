// The Mamba-2 recurrence in tiles of 64 tokens (docs/math/ssd.md): within a tile a few products, between tiles only the
// state. What its kernels share:
//
//   1. find_steps         Δ_t, and a_t = A Σ Δ from the start of the tile, as a sum of two floats
//   2. summarise_tiles    what each tile adds to the state: Σ_j exp(a_Q − a_j) Δ_j x_j B_jᵀ; or, backwards in time, to
//                         the state's gradient: Σ_i exp(a_i) dy_i C_iᵀ
//   3. prefix_tiles       the state before each tile (or its gradient after each tile), one tile after another
//   4. the kernels of ssd.cu and ssd_backward.cu, one block per tile and head
//
// B sequences, T tokens, H heads of P channels, G groups, N states a channel.
#pragma once

#include "kernels/cuda/tile_product.h"
#include "kernels/ssd.h"

namespace natrix::cuda {

constexpr int64_t kSsdTile = 64;

struct SsdSizes {
  int64_t batch, tokens, heads, groups, channels, states;

  SsdSizes(View dt, View x, View B, int64_t groups_)
      : batch(dt.extent(0)),
        tokens(dt.extent(1)),
        heads(dt.extent(2)),
        groups(groups_),
        channels(x.cols() / heads),
        states(B.cols() / groups_) {}

  __host__ __device__ int64_t tiles() const { return (tokens + kSsdTile - 1) / kSsdTile; }
  __host__ __device__ int64_t matrix() const { return channels * states; }
  __device__ int64_t length(int64_t tile) const {
    return (tile + 1) * kSsdTile < tokens ? kSsdTile : tokens - tile * kSsdTile;
  }
  /// Row of a tile's first token.
  __device__ int64_t row(int64_t b, int64_t tile) const { return b * tokens + tile * kSsdTile; }
  /// First column of B and C that head h reads.
  __device__ int64_t group_column(int64_t h) const { return h / (heads / groups) * states; }
};

/// Steps and decays of all tokens, in the arena.
struct SsdSteps {
  float *step, *high, *low;  // [B·T, H]: Δ_t; a_t = high + low
  int32_t* document;         // [B·T]: document starts of the tile at or before t
  int64_t heads;

  __device__ float at(int64_t row, int64_t h) const { return step[row * heads + h]; }
  __device__ float sum(int64_t row, int64_t h) const { return high[row * heads + h] + low[row * heads + h]; }
  /// The decay from token j to a later token i of a tile.
  __device__ float between(int64_t i, int64_t j, int64_t h) const {
    if (document[i] != document[j]) return 0;
    const int64_t p = i * heads + h, q = j * heads + h;
    return expf((high[p] - high[q]) + (low[p] - low[q]));
  }
  /// The decay of what enters the tile, to token i.
  __device__ float from_start(int64_t i, int64_t h) const {
    return document[i] == 0 ? expf(sum(i, h)) : 0.0f;
  }
};

struct SsdStepArgs {
  View dt, dt_bias, A_log, doc_start;
  double dt_min, dt_max;

  template <class Args>
  explicit SsdStepArgs(const Args& a)
      : dt(a.dt),
        dt_bias(a.dt_bias),
        A_log(a.A_log),
        doc_start(a.doc_start),
        dt_min(a.dt_min),
        dt_max(a.dt_max) {}
};
SsdSteps find_steps(Context& ctx, const SsdSizes& s, const SsdStepArgs& a);

enum class InTime { kForward, kBackward };

/// adds [B, tiles, H, P, N] = what each tile adds. values: x or dy; vectors: B or C.
void summarise_tiles(Context& ctx, const SsdSizes& s, const SsdSteps& steps, InTime direction, View values,
                     View vectors, float* adds);

/// Replaces what each tile adds by the state that the tile begins with (backwards: the gradient of the state that it
/// ends with), given the one that the first tile in this direction begins with. Writes what the last tile leaves to
/// `after`, and the decay over all tiles to `decay` [B, H]. Empty views are not read or written; an empty `before` is
/// zero. after may alias before.
void prefix_tiles(Context& ctx, const SsdSizes& s, const SsdSteps& steps, InTime direction, View before,
                  float* states, View after, View decay = {});

/// products[b, tile, g] = C Bᵀ, [64, 64] each.
void multiply_vectors(Context& ctx, const SsdSizes& s, View B, View C, float* products);

/// One block per tile, head (or group) and sequence.
inline dim3 ssd_grid(const SsdSizes& s, int64_t heads) {
  return dim3(blocks_for(s.tiles(), 1), static_cast<unsigned>(heads), static_cast<unsigned>(s.batch));
}

}  // namespace natrix::cuda
