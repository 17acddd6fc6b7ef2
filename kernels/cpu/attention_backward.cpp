// Attention backward: weights are computed again from lse. One task is a head of keys of one sequence, which
// alone adds to its gradients; so there is one order of additions. Derivation: docs/math/attention.md.
#include <atomic>
#include <utility>

#include "kernels/attention.h"
#include "kernels/base/parallel.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

struct BackwardTile {
  float *q, *dy, *dq, *lse, *delta;  // [rows, D], [rows, Dp] twice, [rows] twice
  float *keys, *values;              // of a block, transposed: [kPageRows, Dp], [D, kPageRows]
  float *weights, *dscores;          // of a strip, [kAttentionStrip, kPageRows]

  BackwardTile(const AttentionPlan& plan, float* scratch) {
    const int64_t rows = plan.tile_rows();
    const auto take = [&](int64_t floats) {
      return std::exchange(scratch, scratch + (floats + 15) / 16 * 16);
    };
    q = take(rows * plan.dim);
    dy = take(rows * plan.padded_dim);
    dq = take(rows * plan.padded_dim);
    lse = take(rows);
    delta = take(rows);
    keys = take(kPageRows * plan.padded_dim);
    values = take(kPageRows * plan.dim);
    weights = take(kAttentionStrip * kPageRows);
    dscores = take(kAttentionStrip * kPageRows);
  }
};

/// From scores and dp = dy · v: weights p = 2^(s − lse) and the gradients of scores, ln 2 · p (dp − δ).
void DifferentiateStrip(const AttentionPlan& plan, const AttentionTile& tile, int64_t block,
                        const AttentionStrip& strip, const BackwardTile& t) {
  const Floats d;
  const Vector zero = hn::Zero(d), ln2 = hn::Set(d, static_cast<float>(1 / kLog2E));
  for (int64_t r = 0; r < strip.rows; ++r) {
    float *s = t.weights + r * kPageRows, *ds = t.dscores + r * kPageRows;
    const Vector lse = hn::Set(d, t.lse[strip.row + r]), delta = hn::Set(d, t.delta[strip.row + r]);
    const RowMask mask(plan.keys_of(tile, strip.row + r), block);
    for (int v = 0; v < kKeyVectors; ++v) {
      const int64_t at = v * lanes();
      Vector p = Exp2NonPositive(d, hn::Sub(hn::LoadU(d, s + at), lse));
      Vector gradient = hn::Mul(hn::Mul(ln2, p), hn::Sub(hn::LoadU(d, ds + at), delta));
      if (!mask.whole) {
        p = mask.of(p, v, zero);
        gradient = mask.of(gradient, v, zero);
      }
      hn::StoreU(p, d, s + at);
      hn::StoreU(gradient, d, ds + at);
    }
  }
}

/// One strip against one block: adds to dq of the tile, and to dk and dv of the page.
void BackwardStrip(const AttentionPlan& plan, const AttentionTile& tile, int64_t block,
                   const AttentionStrip& strip, const BackwardTile& t, const float* keys, float* dkeys,
                   float* dvalues) {
  const int64_t D = plan.dim, Dp = plan.padded_dim, seen = strip.end - strip.begin;
  const float *q = t.q + strip.row * D, *dy = t.dy + strip.row * Dp;
  Product<false>({.rows = strip.rows,
                  .terms = D,
                  .cols = kPageRows,
                  .a = q,
                  .a_step = D,
                  .b = keys,
                  .b_step = kPageRows,
                  .c = t.weights,
                  .c_step = kPageRows});
  Product<false>({.rows = strip.rows,
                  .terms = D,
                  .cols = kPageRows,
                  .a = dy,
                  .a_step = Dp,
                  .b = t.values,
                  .b_step = kPageRows,
                  .c = t.dscores,
                  .c_step = kPageRows});
  DifferentiateStrip(plan, tile, block, strip, t);
  Product<true>({.rows = seen,
                 .terms = strip.rows,
                 .cols = Dp,
                 .a = t.weights + strip.begin,
                 .a_step = kPageRows,
                 .b = dy,
                 .b_step = Dp,
                 .c = dvalues + strip.begin * Dp,
                 .c_step = Dp,
                 .add = true});
  Product<true>({.rows = D,
                 .terms = strip.rows,
                 .cols = kPageRows,
                 .a = q,
                 .a_step = D,
                 .b = t.dscores,
                 .b_step = kPageRows,
                 .c = dkeys,
                 .c_step = kPageRows,
                 .add = true});
  Product<false>({.rows = strip.rows,
                  .terms = seen,
                  .cols = Dp,
                  .a = t.dscores + strip.begin,
                  .a_step = kPageRows,
                  .b = t.keys + strip.begin * Dp,
                  .b_step = Dp,
                  .c = t.dq + strip.row * Dp,
                  .c_step = Dp,
                  .add = true});
}

void BackwardTileOf(const AttentionBackward& a, const AttentionPlan& plan, const AttentionTile& tile,
                    const BackwardTile& t) {
  const int64_t rows = tile.count * plan.group, D = plan.dim, Dp = plan.padded_dim;
  PackTile(plan, tile, a.q, static_cast<float>(a.scale * kLog2E), D, t.q);
  PackTile(plan, tile, a.dy, 1.0f, Dp, t.dy);
  std::fill_n(t.dq, rows * Dp, 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    const float* y = plan.row(a.y, tile, r);
    float delta = 0;
    for (int64_t c = 0; c < D; ++c) delta += t.dy[r * Dp + c] * y[c];
    t.delta[r] = delta;
    t.lse[r] = static_cast<float>(static_cast<double>(plan.lse(a.lse, tile, r)) * kLog2E);
  }
  const KeyRange keys = plan.keys_of(tile, 0, rows);
  for (int64_t page = keys.begin / kPageRows; page * kPageRows < keys.end; ++page) {
    const float* block_keys = a.history.keys<float>(plan.batch, tile.b, tile.g, page);
    Transpose(block_keys, kPageRows, D, kPageRows, t.keys, Dp);
    Transpose(a.history.values<float>(plan.batch, tile.b, tile.g, page), Dp, kPageRows, D, t.values,
              kPageRows);
    ForStrips(plan, tile, page * kPageRows, [&](const AttentionStrip& strip) HWY_ATTR {
      BackwardStrip(plan, tile, page * kPageRows, strip, t, block_keys,
                    a.dhistory.keys<float>(plan.batch, tile.b, tile.g, page),
                    a.dhistory.values<float>(plan.batch, tile.b, tile.g, page));
    });
  }
  const auto scale = static_cast<float>(a.scale * kLog2E);  // dscores have a factor of ln 2
  for (int64_t r = 0; r < rows; ++r) {
    float* dq = plan.row(a.dq, tile, r);
    for (int64_t c = 0; c < D; ++c) dq[c] = scale * t.dq[r * Dp + c];
  }
}

void BackwardHead(const AttentionBackward& a, const AttentionPlan& plan, int64_t b, int64_t g,
                  float* scratch) {
  const BackwardTile t(plan, scratch);
  std::fill_n(t.keys, kPageRows * plan.padded_dim, 0.0f);  // the padding stays zero
  for (int64_t i = 0; i < plan.tiles(); ++i) BackwardTileOf(a, plan, plan.tile(b, g, i), t);
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(BackwardHead);

}  // namespace

void attention_backward(Context& ctx, const AttentionBackward& args) {
  const AttentionPlan plan(args);
  const int64_t tasks = plan.batch * plan.key_heads;
  const int64_t workers = plan.work() < kWorthSharing ? 1 : std::min<int64_t>(ctx.threads(), tasks);
  Arena::Frame frame(ctx.arena());
  const int64_t floats = plan.tile_rows() * (plan.dim + 2 * plan.padded_dim + 2) +
                         kPageRows * (plan.padded_dim + plan.dim + 2 * kAttentionStrip) + 9 * 16;
  const View scratch = ctx.arena().take(Dtype::kF32, {workers, (floats + 15) / 16 * 16});
  std::atomic<int64_t> next{0};
  parallel_for(ctx, workers, 1, [&](int64_t worker, int64_t) {
    for (int64_t i; (i = next.fetch_add(1)) < tasks;) {
      HWY_DYNAMIC_DISPATCH(BackwardHead)
      (args, plan, i / plan.key_heads, i % plan.key_heads, scratch.row<float>(worker));
    }
  });
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
