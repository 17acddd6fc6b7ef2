// GEMM's kernel: a few rows of op(a) times a few vectors of columns of op(b). All sums stay in
// registers for a block of terms.
//
//   c[r][j] (= or +=) Σ_k a[r][k] b[k][j]        for R rows r and W vectors of columns j

#if defined(NATRIX_KERNELS_CPU_GEMM_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_GEMM_KERNEL_INL_H_
#undef NATRIX_KERNELS_CPU_GEMM_KERNEL_INL_H_
#else
#define NATRIX_KERNELS_CPU_GEMM_KERNEL_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <hwy/highway.h>
#include <utility>

#include "kernels/cpu/gemm_pack-inl.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/prefetch.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

// Sums in registers: 24 vectors of 32, or 12 of 16.
inline constexpr bool kManyRegisters = !HWY_ARCH_X86 || HWY_MAX_BYTES == 64;
inline constexpr int kVectors = kManyRegisters ? 3 : 2;
inline constexpr int kRows = kManyRegisters ? 8 : 6;
inline constexpr int64_t kTermsALine = 4;  // terms computed per prefetched cache line

HWY_INLINE int64_t lanes() {
  return static_cast<int64_t>(hn::Lanes(Floats()));
}

/// A few rows of op(a), `step` apart. The terms of a row are contiguous.
struct RowPanel {
  const float* data;
  int64_t step;
};

/// Some vectors of columns of op(b). The columns of term k begin at data[k * step].
struct ColPanel {
  const float* data;
  int64_t step;
};

/// Factors for the sums of each row, `apart` from row to row. Null: the sums are not scaled.
struct RowSteps {
  const float* data = nullptr;
  int64_t apart = 0;
};

/// The memory to prefetch: `runs` runs of `floats` floats, `step` apart. Every few terms the
/// kernel prefetches a few lines, `times` times in all, so that most of the memory is in the L2
/// cache when it is needed.
class Upcoming {
 public:
  Upcoming() = default;
  Upcoming(const float* first, int64_t floats, int64_t runs, int64_t step, int64_t times)
      : run_(first), floats_(floats), step_(step), runs_(runs) {
    constexpr int64_t kMost = 4;  // more would delay the current loads
    const int64_t lines = runs * ((floats + kCacheLine - 1) / kCacheLine);
    if (times > 0) lines_a_time_ = std::min((lines + times - 1) / times, kMost);
  }

  /// How often a kernel of K terms prefetches.
  static int64_t times(int64_t K) { return std::max<int64_t>(0, K / kTermsALine - kRows * kVectors); }

  HWY_INLINE void ask() {
    for (int64_t i = 0; i < lines_a_time_ && runs_ > 0; ++i) {
      prefetch_into_l2(run_ + at_);
      at_ += kCacheLine;
      if (at_ >= floats_) {
        at_ = 0;
        run_ += step_;
        --runs_;
      }
    }
  }

 private:
  const float* run_ = nullptr;
  int64_t floats_ = 0, step_ = 0, runs_ = 0, at_ = 0, lines_a_time_ = 0;
};

/// A block of c, at most kRows rows and kVectors vectors.
struct Block {
  int64_t rows, cols;
  RowSteps steps;
  bool add;
  float* c;
  int64_t c_row;
};

/// HWY_INLINE for lambdas.
#define NATRIX_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))

/// Calls body(r, v) for every row r < R and vector v < W. Both are compile-time constants, so that the sums
/// they index stay in registers.
template <int R, int W, class Body>
HWY_INLINE void ForBlock(const Body& body) {
  [&]<int... kAt>(std::integer_sequence<int, kAt...>) NATRIX_INLINE_LAMBDA {
    (body(std::integral_constant<int, kAt / W>(), std::integral_constant<int, kAt % W>()), ...);
  }
  (std::make_integer_sequence<int, R * W>());
}

/// Computes a whole block of R rows and W vectors.
template <int R, int W>
HWY_NOINLINE void Multiply(RowPanel a, ColPanel b, int64_t K, const Block& to, Upcoming& next) {
  const Floats d;
  float* HWY_RESTRICT c = to.c;  // loads and stores may be reordered
  const int64_t c_row = to.c_row, n = lanes();
  const RowSteps steps = to.steps;
  const bool add = to.add;
  Vector sum[R][W];
  ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA { sum[r][v] = hn::Zero(d); });
  // The source loads a's element and b's vector for every sum. The compiler loads each once, as
  // nothing is stored in between.
  const auto add_term = [&](int64_t k) NATRIX_INLINE_LAMBDA {
    ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA {
      const Vector a_rk = hn::Set(d, a.data[r * a.step + k]);
      const Vector b_kv = hn::LoadU(d, b.data + k * b.step + v * n);
      sum[r][v] = hn::MulAdd(a_rk, b_kv, sum[r][v]);
    });
  };
  // c was last used a block of terms ago, if at all. It is prefetched line by line: all lines
  // at once would queue up.
  const auto ask_for_c = [&](int64_t line) HWY_ATTR { hwy::Prefetch(c + line % R * c_row + line / R * n); };
  const int64_t lines = K / kTermsALine;
  for (int64_t line = lines; line < R * W; ++line) ask_for_c(line);
  int64_t k = 0;
  for (int64_t line = 0; line < lines; ++line) {
    if (line < R * W) {
      ask_for_c(line);
    } else {
      next.ask();
    }
    for (int i = 0; i < kTermsALine; ++i) add_term(k++);
  }
  while (k < K) add_term(k++);
  if (steps.data != nullptr) {
    ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA {
      sum[r][v] = hn::Mul(hn::Set(d, steps.data[r * steps.apart]), sum[r][v]);
    });
  }
  ForBlock<R, W>([&](auto r, auto v) NATRIX_INLINE_LAMBDA {
    float* c_rv = c + r * c_row + v * n;
    hn::StoreU(add ? hn::Add(hn::LoadU(d, c_rv), sum[r][v]) : sum[r][v], d, c_rv);
  });
}

/// The rows of the kernel that handles `rows` rows.
HWY_INLINE int64_t KernelRows(int64_t rows) {
  return rows <= 2 ? rows : rows <= 4 ? 4 : kRows;
}

/// Computes a block smaller than its kernel into a temporary, and copies or adds the part that belongs to c.
template <int R, int W>
HWY_INLINE void MultiplyBlock(RowPanel a, ColPanel b, int64_t K, const Block& block, Upcoming& next) {
  const int64_t width = W * lanes();
  if (block.rows == R && block.cols == width) return Multiply<R, W>(a, b, K, block, next);
  float sums[R * W * kMostLanes], steps[R] = {};
  RowSteps of_rows;
  if (block.steps.data != nullptr) {
    of_rows = {steps, 1};
    for (int64_t r = 0; r < block.rows; ++r) steps[r] = block.steps.data[r * block.steps.apart];
  }
  Multiply<R, W>(a, b, K,
                 {.rows = R, .cols = width, .steps = of_rows, .add = false, .c = sums, .c_row = width}, next);
  for (int64_t r = 0; r < block.rows; ++r) {
    for (int64_t j = 0; j < block.cols; ++j) {
      float& c = block.c[r * block.c_row + j];
      c = block.add ? c + sums[r * width + j] : sums[r * width + j];
    }
  }
}

template <int W>
HWY_INLINE void MultiplyRows(RowPanel a, ColPanel b, int64_t K, const Block& block, Upcoming& next) {
  switch (KernelRows(block.rows)) {
    case 1: return MultiplyBlock<1, W>(a, b, K, block, next);
    case 2: return MultiplyBlock<2, W>(a, b, K, block, next);
    case 4: return MultiplyBlock<4, W>(a, b, K, block, next);
    default: return MultiplyBlock<kRows, W>(a, b, K, block, next);
  }
}

HWY_INLINE void MultiplyAny(RowPanel a, ColPanel b, int64_t K, const Block& block, Upcoming& next) {
  if (block.cols <= lanes()) return MultiplyRows<1>(a, b, K, block, next);
  if (kVectors == 2 || block.cols <= 2 * lanes()) return MultiplyRows<2>(a, b, K, block, next);
  MultiplyRows<kVectors>(a, b, K, block, next);
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
