// The products of attention: strips of queries times blocks of keys, all small enough for the L1 and L2 cache.
// Each element of a product is summed in the order of its terms, whatever part of the product is computed.

#if defined(NATRIX_KERNELS_CPU_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_ATTENTION_INL_H_
#undef NATRIX_KERNELS_CPU_ATTENTION_INL_H_
#else
#define NATRIX_KERNELS_CPU_ATTENTION_INL_H_
#endif

#include <algorithm>

#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/exp2-inl.h"
#include "kernels/cpu/gemm_kernel-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// Vectors of a block of keys.
inline constexpr int kKeyVectors = static_cast<int>(kPageRows) / static_cast<int>(hn::MaxLanes(Floats()));

/// A product c = a b: `rows` × `terms` times `terms` × `cols`; cols is a multiple of 16.
struct SmallProduct {
  int64_t rows, terms, cols;
  const float* a;
  int64_t a_step;  // from row to row; if a is transposed, from term to term
  const float* b;
  int64_t b_step;  // from term to term
  float* c;
  int64_t c_step;
  bool add = false;                // c += instead of c =
  const float* rescale = nullptr;  // c = rescale[row] c + a b
};

template <int R, int W, bool kTransposed>
HWY_NOINLINE void MultiplySmall(const SmallProduct& p, int64_t row, int64_t col) {
  const Floats d;
  const int64_t n = lanes(), K = p.terms, a_step = p.a_step, b_step = p.b_step, c_step = p.c_step;
  const float* HWY_RESTRICT a = kTransposed ? p.a + row : p.a + row * a_step;
  const float* HWY_RESTRICT b = p.b + col;
  float* HWY_RESTRICT c = p.c + row * c_step + col;
  Vector sum[R][W];
  ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA { sum[r][v] = hn::Zero(d); });
  for (int64_t k = 0; k < K; ++k) {
    ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA {
      const Vector a_rk = hn::Set(d, kTransposed ? a[k * a_step + r] : a[r * a_step + k]);
      sum[r][v] = hn::MulAdd(a_rk, hn::LoadU(d, b + k * b_step + v * n), sum[r][v]);
    });
  }
  if (p.rescale != nullptr) {
    const float* rescale = p.rescale + row;
    ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA {
      float* c_rv = c + r * c_step + v * n;
      hn::StoreU(hn::MulAdd(hn::LoadU(d, c_rv), hn::Set(d, rescale[r]), sum[r][v]), d, c_rv);
    });
  } else {
    const bool add = p.add;
    ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA {
      float* c_rv = c + r * c_step + v * n;
      hn::StoreU(add ? hn::Add(hn::LoadU(d, c_rv), sum[r][v]) : sum[r][v], d, c_rv);
    });
  }
}

template <int W, bool kTransposed>
HWY_INLINE void MultiplyColumns(const SmallProduct& p, int64_t col) {
  int64_t row = 0;
  for (; row + 6 <= p.rows; row += 6) MultiplySmall<6, W, kTransposed>(p, row, col);
  if (row + 4 <= p.rows) MultiplySmall<4, W, kTransposed>(p, row, col), row += 4;
  if (row + 2 <= p.rows) MultiplySmall<2, W, kTransposed>(p, row, col), row += 2;
  if (row < p.rows) MultiplySmall<1, W, kTransposed>(p, row, col);
}

/// kTransposed: a is stored as [terms, rows].
template <bool kTransposed>
HWY_INLINE void Product(const SmallProduct& p) {
  int64_t col = 0;
  if constexpr (kManyRegisters) {
    for (; col + 4 * lanes() <= p.cols; col += 4 * lanes()) MultiplyColumns<4, kTransposed>(p, col);
  }
  for (; col + 2 * lanes() <= p.cols; col += 2 * lanes()) MultiplyColumns<2, kTransposed>(p, col);
  for (; col < p.cols; col += lanes()) MultiplyColumns<1, kTransposed>(p, col);
}

/// Some rows of a tile against a block of keys.
struct AttentionStrip {
  int64_t row, rows;   // of the tile
  int64_t begin, end;  // the keys of the block that any of the rows sees
};

/// Calls body(strip) for all strips of a tile that see keys of a block, whose first key is `block`.
template <class Body>
HWY_INLINE void ForStrips(const AttentionPlan& plan, const AttentionTile& tile, int64_t block,
                          const Body& body) {
  const int64_t rows = tile.count * plan.group;
  for (int64_t row = 0; row < rows; row += kAttentionStrip) {
    const int64_t count = std::min(kAttentionStrip, rows - row);
    const KeyRange keys = plan.keys_of(tile, row, count);
    const int64_t begin = std::max<int64_t>(0, keys.begin - block),
                  end = std::min(kPageRows, keys.end - block);
    if (begin < end) body(AttentionStrip{row, count, begin, end});
  }
}

/// Which keys of a block a row sees.
struct RowMask {
  bool whole;
  int64_t begin, end;

  RowMask(KeyRange keys, int64_t block) : begin(keys.begin - block), end(keys.end - block) {
    whole = begin <= 0 && end >= kPageRows;
  }
  /// x where vector v of the block is visible, otherwise `hidden`.
  HWY_INLINE Vector of(Vector x, int64_t v, Vector hidden) const {
    const Floats d;
    const Vector at = hn::Iota(d, static_cast<float>(v * lanes()));
    const Vector low = hn::Set(d, static_cast<float>(std::clamp<int64_t>(begin, 0, kPageRows)));
    const Vector high = hn::Set(d, static_cast<float>(std::clamp<int64_t>(end, 0, kPageRows)));
    return hn::IfThenElse(hn::And(hn::Ge(at, low), hn::Lt(at, high)), x, hidden);
  }
};

/// to = factor · from for every row of a tile; `padded` columns, of which those beyond the head's are zero.
HWY_INLINE void PackTile(const AttentionPlan& plan, const AttentionTile& tile, View from, float factor,
                         int64_t padded, float* to) {
  for (int64_t r = 0; r < tile.count * plan.group; ++r, to += padded) {
    const float* row = plan.row(from, tile, r);
    for (int64_t c = 0; c < plan.dim; ++c) to[c] = factor * row[c];
    std::fill(to + plan.dim, to + padded, 0.0f);
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
