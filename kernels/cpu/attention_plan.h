// How attention on the CPU divides its work. All sizes are constants; besides, the bits of an output depend on
// none of them but kPageRows.
//
//   tile    some queries with all heads that share a head of keys: about 192 rows of Q. A tile walks over the
//           blocks of keys that it sees, and reads each block once for all of its rows.
//   block   a page of keys and values, 64 rows.
//   strip   48 rows of a tile, whose scores with one block stay in the L1 cache.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/attention.h"

namespace natrix::cpu {

inline constexpr int64_t kAttentionTile = 192, kAttentionStrip = 48;
inline constexpr double kLog2E = 1.4426950408889634;
/// Multiply-adds that are worth waking a thread: about ten microseconds.
inline constexpr int64_t kWorthSharing = int64_t{1} << 19;

/// Queries [first, first + count) of sequence b for head g of keys. Row r of a tile is query r / group and
/// query head g · group + r % group.
struct AttentionTile {
  int64_t b, g, first, count;
};

struct AttentionPlan {
  int64_t batch, tokens, key_heads, group, dim, padded_dim;  // group: query heads of a head of keys
  std::vector<KeyRange> visible;                             // [B, T]

  template <class Args>
  explicit AttentionPlan(const Args& a)
      : batch(a.q.extent(0)),
        tokens(a.q.extent(1)),
        key_heads(a.history.heads),
        group(a.q.cols() / (a.history.heads * a.history.head_dim)),
        dim(a.history.head_dim),
        padded_dim(a.history.padded_dim()),
        visible(static_cast<size_t>(batch * tokens)) {
    require(a.q.dtype == Dtype::kF32, "attention: the CPU backend computes in f32 only");
    for (int64_t b = 0; b < batch; ++b) {
      find_visible(a, b,
                   std::span(visible).subspan(static_cast<size_t>(b * tokens), static_cast<size_t>(tokens)));
    }
  }

  int64_t tile_tokens() const { return std::max<int64_t>(1, std::min(tokens, kAttentionTile / group)); }
  int64_t tile_rows() const { return tile_tokens() * group; }
  int64_t tiles() const { return (tokens + tile_tokens() - 1) / tile_tokens(); }  // of one head of keys
  AttentionTile tile(int64_t b, int64_t g, int64_t index) const {
    const int64_t first = index * tile_tokens();
    return {b, g, first, std::min(tile_tokens(), tokens - first)};
  }
  /// The keys that row r of a tile sees.
  KeyRange keys_of(const AttentionTile& tile, int64_t r) const {
    return visible[static_cast<size_t>(tile.b * tokens + tile.first + r / group)];
  }
  /// The keys that any of `count` rows from r on sees. Both ends of a range grow with the query.
  KeyRange keys_of(const AttentionTile& tile, int64_t r, int64_t count) const {
    return {keys_of(tile, r).begin, keys_of(tile, r + count - 1).end};
  }
  /// The channels of row r of a tile in q, y or a gradient.
  float* row(View v, const AttentionTile& tile, int64_t r) const {
    return v.row<float>(tile.b * tokens + tile.first + r / group) + (tile.g * group + r % group) * dim;
  }
  /// The element of row r in lse [B, H, T].
  float& lse(View v, const AttentionTile& tile, int64_t r) const {
    const int64_t head = tile.g * group + r % group;
    return v.as<float>()[(tile.b * key_heads * group + head) * tokens + tile.first + r / group];
  }
  /// Multiply-adds of a forward pass, roughly.
  int64_t work() const {
    int64_t pairs = 0;
    for (const KeyRange& keys : visible) pairs += keys.end - keys.begin;
    return 2 * pairs * key_heads * group * dim;
  }
};

}  // namespace natrix::cpu
