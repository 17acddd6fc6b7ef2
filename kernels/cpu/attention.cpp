// Attention forward: a tile of queries walks over its blocks of keys with an online softmax (arXiv 1805.02867,
// 2205.14135). Bound by multiply-adds; a decoding step takes the same path and is bound by the memory of the
// keys and values. Derivation: docs/math/attention.md.
#include "kernels/attention.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/base/parallel.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

/// The largest score before any key was seen. Finite, so that no difference of two of them is NaN.
constexpr float kNoScore = -1e30f;
constexpr int64_t kSumLanes = 16;  // a row's sum is kept lane by lane, and added up at the end

/// A tile's state between blocks, in a worker's scratch.
struct ForwardTile {
  float *q, *y, *most, *sum;  // [rows, D], [rows, Dp], [rows], [rows, kSumLanes]
  float *scores, *rescale;    // of a strip: [kAttentionStrip, kPageRows], [kAttentionStrip]

  ForwardTile(const AttentionPlan& plan, float* scratch) {
    const int64_t rows = plan.tile_rows();
    const auto take = [&](int64_t floats) {
      return std::exchange(scratch, scratch + (floats + 15) / 16 * 16);
    };
    q = take(rows * plan.dim);
    y = take(rows * plan.padded_dim);
    most = take(rows);
    sum = take(rows * kSumLanes);
    scores = take(kAttentionStrip * kPageRows);
    rescale = take(kAttentionStrip);
  }
};

/// Turns the scores of a strip into weights 2^(s − most), after `most` has grown to include them. rescale
/// receives the factors for what was summed before.
void WeighStrip(const AttentionPlan& plan, const AttentionTile& tile, int64_t block,
                const AttentionStrip& strip, const ForwardTile& t) {
  const Floats d;
  const Vector hidden = hn::Set(d, -std::numeric_limits<float>::infinity());
  for (int64_t r = 0; r < strip.rows; ++r) {
    float *s = t.scores + r * kPageRows, &most = t.most[strip.row + r];
    const RowMask mask(plan.keys_of(tile, strip.row + r), block);
    Vector largest = hn::LoadU(d, s);
    if (mask.whole) {
      for (int v = 1; v < kKeyVectors; ++v) largest = hn::Max(largest, hn::LoadU(d, s + v * lanes()));
    } else {
      largest = hidden;
      for (int v = 0; v < kKeyVectors; ++v) {
        const Vector x = mask.of(hn::LoadU(d, s + v * lanes()), v, hidden);
        hn::StoreU(x, d, s + v * lanes());
        largest = hn::Max(largest, x);
      }
    }
    const float now = std::max(most, hn::GetLane(hn::MaxOfLanes(d, largest)));
    t.rescale[r] = most - now;
    most = now;
  }
  for (int64_t r = 0; r < kAttentionStrip; r += lanes()) {  // beyond the strip's rows, the last strip's
    hn::StoreU(Exp2NonPositive(d, hn::LoadU(d, t.rescale + r)), d, t.rescale + r);
  }
  for (int64_t r = 0; r < strip.rows; ++r) {
    float *s = t.scores + r * kPageRows, *sum = t.sum + (strip.row + r) * kSumLanes;
    const Vector most = hn::Set(d, t.most[strip.row + r]), rescale = hn::Set(d, t.rescale[r]);
    constexpr int kSums = static_cast<int>(kSumLanes) / static_cast<int>(hn::MaxLanes(Floats()));
    Vector added[kSums];
    for (int v = 0; v < kKeyVectors; ++v) {
      const Vector p = Exp2NonPositive(d, hn::Sub(hn::LoadU(d, s + v * lanes()), most));
      hn::StoreU(p, d, s + v * lanes());
      added[v % kSums] = v < kSums ? p : hn::Add(added[v % kSums], p);
    }
    for (int i = 0; i < kSums; ++i) {
      float* to = sum + i * lanes();
      hn::StoreU(hn::MulAdd(hn::LoadU(d, to), rescale, added[i]), d, to);
    }
  }
}

void ForwardTileOf(const AttentionForward& a, const AttentionPlan& plan, const AttentionTile& tile,
                   float* scratch) {
  const ForwardTile t(plan, scratch);
  const int64_t rows = tile.count * plan.group, D = plan.dim, Dp = plan.padded_dim;
  PackTile(plan, tile, a.q, static_cast<float>(a.scale * kLog2E), D, t.q);
  std::fill_n(t.y, rows * Dp, 0.0f);
  std::fill_n(t.most, rows, kNoScore);
  std::fill_n(t.sum, rows * kSumLanes, 0.0f);
  std::fill_n(t.rescale, kAttentionStrip, 0.0f);
  const KeyRange keys = plan.keys_of(tile, 0, rows);
  for (int64_t page = keys.begin / kPageRows; page * kPageRows < keys.end; ++page) {
    const float* block_keys = a.history.keys<float>(plan.batch, tile.b, tile.g, page);
    const float* block_values = a.history.values<float>(plan.batch, tile.b, tile.g, page);
    ForStrips(plan, tile, page * kPageRows, [&](const AttentionStrip& strip) HWY_ATTR {
      Product<false>({.rows = strip.rows,
                      .terms = D,
                      .cols = kPageRows,
                      .a = t.q + strip.row * D,
                      .a_step = D,
                      .b = block_keys,
                      .b_step = kPageRows,
                      .c = t.scores,
                      .c_step = kPageRows});
      WeighStrip(plan, tile, page * kPageRows, strip, t);
      Product<false>({.rows = strip.rows,
                      .terms = strip.end - strip.begin,
                      .cols = Dp,
                      .a = t.scores + strip.begin,
                      .a_step = kPageRows,
                      .b = block_values + strip.begin * Dp,
                      .b_step = Dp,
                      .c = t.y + strip.row * Dp,
                      .c_step = Dp,
                      .rescale = t.rescale});
    });
  }
  for (int64_t r = 0; r < rows; ++r) {
    float* y = plan.row(a.y, tile, r);
    float sum = 0;
    for (int64_t i = 0; i < kSumLanes; ++i) sum += t.sum[r * kSumLanes + i];
    for (int64_t c = 0; c < D; ++c) y[c] = t.y[r * Dp + c] / sum;
    if (a.lse) {
      plan.lse(a.lse, tile, r) =
          static_cast<float>(static_cast<double>(t.most[r]) / kLog2E + std::log(static_cast<double>(sum)));
    }
  }
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(ForwardTileOf);

}  // namespace

/// Queries of one tile do not read another's, so that y may alias q.
void attention_forward(Context& ctx, const AttentionForward& args) {
  const AttentionPlan plan(args);
  const int64_t per_tile = plan.batch * plan.key_heads, tasks = per_tile * plan.tiles();
  const int64_t workers = plan.work() < kWorthSharing ? 1 : std::min<int64_t>(ctx.threads(), tasks);
  Arena::Frame frame(ctx.arena());
  const int64_t floats = plan.tile_rows() * (plan.dim + plan.padded_dim + 17) +
                         kAttentionStrip * (kPageRows + 1) + 6 * 16;  // as ForwardTile divides it
  const View scratch = ctx.arena().take(Dtype::kF32, {workers, (floats + 15) / 16 * 16});
  std::atomic<int64_t> next{0};
  parallel_for(ctx, workers, 1, [&](int64_t worker, int64_t) {
    for (int64_t i; (i = next.fetch_add(1)) < tasks;) {
      const int64_t head = i % per_tile, last_first = plan.tiles() - 1 - i / per_tile;  // they see most keys
      HWY_DYNAMIC_DISPATCH(ForwardTileOf)
      (args, plan, plan.tile(head / plan.key_heads, head % plan.key_heads, last_first),
       scratch.row<float>(worker));
    }
  });
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
