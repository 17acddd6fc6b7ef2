// The matrix products of a tile of Mamba-2: small, of operands in the L1 or L2 cache, and with all that the
// recurrence needs besides (a scale on a row, an old state that decays) done while the sums are in registers.

#if defined(NATRIX_KERNELS_CPU_SSD_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_SSD_PRODUCTS_INL_H_
#undef NATRIX_KERNELS_CPU_SSD_PRODUCTS_INL_H_
#else
#define NATRIX_KERNELS_CPU_SSD_PRODUCTS_INL_H_
#endif

#include <algorithm>

#include "kernels/cpu/gemm_kernel-inl.h"
#include "kernels/cpu/ssd_plan.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

// Sums in registers: 6 rows of 4 vectors, or of 2.
inline constexpr int kSsdRows = 6;
inline constexpr int kSsdVectors = kManyRegisters ? 4 : 2;
static_assert(kSsdPad % hn::MaxLanes(Floats()) == 0, "padded rows are whole vectors");

/// A left operand: element (r, k) is at data[r * row + k * term]. One of the steps is 1.
struct Left {
  const float* data = nullptr;
  int64_t row = 0, term = 0;
};

/// A right operand: the columns of term k begin at data[k * term].
struct Right {
  const float* data = nullptr;
  int64_t term = 0;
};

/// Which terms of the second sum row r has.
enum class TermsOf { kAll, kUpToRow, kFromRow };

///   c[r][j] = scale[r] Σ_k a[r][k] b[k][j]  +  Σ_k a2[r][k] b2[k][j]  +  keep · old[r][j]
struct SsdProduct {
  int64_t rows, cols;  // cols: a multiple of kSsdPad
  Left a;
  Right b;
  int64_t terms = 0;             // of the first sum
  const float* scale = nullptr;  // null: ones
  Left a2;
  Right b2;
  int64_t terms2 = 0;
  TermsOf which = TermsOf::kAll;
  bool lower = false;  // only columns j ≤ r are needed
  const float* old = nullptr;
  float keep = 1;
  float* c;
  int64_t c_row;  // and of old
};

/// sum[r][v] += Σ_k a[r][k] b[k][v]
template <int R, int W>
HWY_INLINE void AddSsdTerms(const float* HWY_RESTRICT a, int64_t a_row, int64_t a_term,
                            const float* HWY_RESTRICT b, int64_t b_term, int64_t terms, Vector (&sum)[R][W]) {
  const Floats d;
  const int64_t n = lanes();
  if (a_row == 1) {
    for (int64_t k = 0; k < terms; ++k, a += a_term, b += b_term) {
      ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA {
        sum[r][v] = hn::MulAdd(hn::Set(d, a[r]), hn::LoadU(d, b + v * n), sum[r][v]);
      });
    }
  } else {
    for (int64_t k = 0; k < terms; ++k, b += b_term) {
      ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA {
        sum[r][v] = hn::MulAdd(hn::Set(d, a[r * a_row + k]), hn::LoadU(d, b + v * n), sum[r][v]);
      });
    }
  }
}

/// A block of R rows from row i on and W vectors of columns from j on.
template <int R, int W>
HWY_NOINLINE void MultiplySsdBlock(const SsdProduct& p, int64_t i, int64_t j) {
  const Floats d;
  const int64_t n = lanes();
  Vector sum[R][W];
  ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA { sum[r][v] = hn::Zero(d); });
  if (p.terms > 0) {
    AddSsdTerms<R, W>(p.a.data + i * p.a.row, p.a.row, p.a.term, p.b.data + j, p.b.term, p.terms, sum);
    if (p.scale != nullptr) {
      const float* scale = p.scale + i;
      ForBlock<R, W>([&](auto r, auto v)
                         NATRIX_INLINE_LAMBDA { sum[r][v] = hn::Mul(hn::Set(d, scale[r]), sum[r][v]); });
    }
  }
  const int64_t from = p.which == TermsOf::kFromRow ? i : 0,
                to = p.which == TermsOf::kUpToRow ? std::min(i + R, p.terms2) : p.terms2;
  if (to > from) {
    AddSsdTerms<R, W>(p.a2.data + i * p.a2.row + from * p.a2.term, p.a2.row, p.a2.term,
                      p.b2.data + from * p.b2.term + j, p.b2.term, to - from, sum);
  }
  if (p.old != nullptr) {
    const auto keep = hn::Set(d, p.keep);
    const float* old = p.old + i * p.c_row + j;
    ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA {
      sum[r][v] = hn::MulAdd(keep, hn::LoadU(d, old + r * p.c_row + v * n), sum[r][v]);
    });
  }
  float* c = p.c + i * p.c_row + j;
  ForBlock<R, W>([&](auto r, auto v)
                     NATRIX_INLINE_LAMBDA { hn::StoreU(sum[r][v], d, c + r * p.c_row + v * n); });
}

/// Calls body.template operator()<R, W>(i, j) for blocks of rows: as many sixes as there are, then 4, 2 and 1.
template <int W, class Body>
HWY_INLINE void ForRowBlocks(int64_t rows, int64_t j, const Body& body) {
  int64_t i = 0;
  for (; i + kSsdRows <= rows; i += kSsdRows) body.template operator()<kSsdRows, W>(i, j);
  if (i + 4 <= rows) {
    body.template operator()<4, W>(i, j);
    i += 4;
  }
  if (i + 2 <= rows) {
    body.template operator()<2, W>(i, j);
    i += 2;
  }
  if (i < rows) body.template operator()<1, W>(i, j);
}

/// And for blocks of rows and columns.
template <class Body>
HWY_INLINE void ForSsdBlocks(int64_t rows, int64_t cols, const Body& body) {
  const int64_t n = lanes();
  int64_t j = 0;
  for (; j + kSsdVectors * n <= cols; j += kSsdVectors * n) ForRowBlocks<kSsdVectors>(rows, j, body);
  if constexpr (kSsdVectors * hn::MaxLanes(Floats()) > kSsdPad) {  // otherwise nothing is left
    if (j + 2 * n <= cols) {
      ForRowBlocks<2>(rows, j, body);
      j += 2 * n;
    }
    if (j < cols) ForRowBlocks<1>(rows, j, body);
  }
}

HWY_INLINE void Multiply(const SsdProduct& p) {
  const auto block = [&]<int R, int W>(int64_t i, int64_t j) HWY_ATTR {
    if (!p.lower) return MultiplySsdBlock<R, W>(p, i, j);
    // A block on the diagonal takes only the vectors that reach below it.
    const int64_t vectors = std::min<int64_t>(W, (i + R - j + lanes() - 1) / lanes());
    if (vectors <= 0) return;
    if constexpr (W > 2) {
      if (vectors <= 1) return MultiplySsdBlock<R, 1>(p, i, j);
      if (vectors == 2) return MultiplySsdBlock<R, 2>(p, i, j);
    } else if constexpr (W == 2) {
      if (vectors <= 1) return MultiplySsdBlock<R, 1>(p, i, j);
    }
    MultiplySsdBlock<R, W>(p, i, j);
  };
  ForSsdBlocks(p.rows, p.cols, block);
}

/// A product whose result is scaled by column and used twice, for gradients that pass through a state:
///   g = scale[j] Σ_k a[r][k] b[k][j]        c[r][j] += weight[j] g        dot[j] += other[r][j] g
struct SsdGradientProduct {
  int64_t rows, cols;
  Left a;
  Right b;
  int64_t terms;
  const float *scale, *weight;  // weight null: ones
  const float* other;
  float* dot;
  float* c;
  int64_t c_row;  // and of other
  bool add;       // c += rather than c =
};

template <int R, int W>
HWY_NOINLINE void MultiplySsdGradientBlock(const SsdGradientProduct& p, int64_t i, int64_t j) {
  const Floats d;
  const int64_t n = lanes();
  Vector sum[R][W];
  ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA { sum[r][v] = hn::Zero(d); });
  AddSsdTerms<R, W>(p.a.data + i * p.a.row, p.a.row, p.a.term, p.b.data + j, p.b.term, p.terms, sum);
  ForBlock<1, W>([&](auto, auto v) NATRIX_INLINE_LAMBDA {
    const auto scale = hn::LoadU(d, p.scale + j + v * n);
    const auto weight = p.weight != nullptr ? hn::LoadU(d, p.weight + j + v * n) : hn::Set(d, 1.0f);
    auto dot = hn::LoadU(d, p.dot + j + v * n);
    ForBlock<R, 1>([&](auto r, auto) NATRIX_INLINE_LAMBDA {
      const int64_t at = (i + r) * p.c_row + j + v * n;
      const auto g = hn::Mul(scale, sum[r][v]);
      dot = hn::MulAdd(hn::LoadU(d, p.other + at), g, dot);
      const auto old = p.add ? hn::LoadU(d, p.c + at) : hn::Zero(d);
      hn::StoreU(hn::MulAdd(weight, g, old), d, p.c + at);
    });
    hn::StoreU(dot, d, p.dot + j + v * n);
  });
}

HWY_INLINE void Multiply(const SsdGradientProduct& p) {
  ForSsdBlocks(p.rows, p.cols,
               [&]<int R, int W>(int64_t i, int64_t j) HWY_ATTR { MultiplySsdGradientBlock<R, W>(p, i, j); });
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
