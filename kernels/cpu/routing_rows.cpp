// Moves rows to the experts and back: copies and short sums, bound by memory bandwidth. Blocks of tokens
// (blocks of rows in gather_rows) run in parallel. Each block writes only its own rows, so bits do not depend
// on the number of threads or on the other tokens.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/base/parallel.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/routing.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/routing_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

using F32 = hn::ScalableTag<float>;

HWY_INLINE hn::Vec<F32> LoadUpTo(F32 d, const float* p, int64_t count) {
  return count == static_cast<int64_t>(hn::Lanes(d)) ? hn::LoadU(d, p) : LoadSome(d, p, count);
}

HWY_INLINE void StoreUpTo(F32 d, hn::Vec<F32> v, float* p, int64_t count) {
  if (count == static_cast<int64_t>(hn::Lanes(d))) {
    hn::StoreU(v, d, p);
  } else {
    StoreSome(d, v, p, count);
  }
}

struct Term {
  const float* row;
  float weight;
};

/// y (=, +=) Σ weight · row, one vector of columns at a time, so that y is written once.
void WeightedSum(const std::vector<Term>& terms, int64_t width, bool accumulate, float* y) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t c = 0; c < width; c += lanes) {
    const int64_t count = std::min(lanes, width - c);
    auto sum = accumulate ? LoadUpTo(d, y + c, count) : hn::Zero(d);
    for (const Term& term : terms) {
      sum = hn::MulAdd(hn::Set(d, term.weight), LoadUpTo(d, term.row + c, count), sum);
    }
    StoreUpTo(d, sum, y + c, count);
  }
}

/// Returns ⟨row, dy⟩ and sets drow = weight · dy. drow may alias row.
float DotAndScale(const float* row, const float* dy, float weight, int64_t width, float* drow) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum = hn::Zero(d);
  for (int64_t c = 0; c < width; c += lanes) {
    const int64_t count = std::min(lanes, width - c);
    const auto g = LoadUpTo(d, dy + c, count);
    sum = hn::MulAdd(LoadUpTo(d, row + c, count), g, sum);
    StoreUpTo(d, hn::Mul(hn::Set(d, weight), g), drow + c, count);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

void CombineRange(const CombineRows& a, int64_t begin, int64_t end) {
  const int64_t top_k = a.top_k();
  std::vector<Term> terms;
  for (int64_t t = begin; t < end; ++t) {
    terms.clear();
    for (int64_t j = 0; j < top_k; ++j) {
      const int64_t r = a.row_of_slot ? a.row_of_slot.row<int64_t>(t)[j] : t * top_k + j;
      if (r >= 0) terms.push_back({a.rows.row<float>(r), a.weight ? a.weight.row<float>(t)[j] : 1.0f});
    }
    WeightedSum(terms, a.y.cols(), a.accumulate, a.y.row<float>(t));
  }
}

/// Goes by token and not by row: dy[t] stays in the cache for the token's rows, and dropped
/// slots get their zero.
void CombineBackwardRange(const CombineRowsBackward& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t j = 0; j < a.row_of_slot.cols(); ++j) {
      const int64_t r = a.row_of_slot.row<int64_t>(t)[j];
      a.dweight.row<float>(t)[j] =
          r < 0 ? 0.0f
                : DotAndScale(a.rows.row<float>(r), a.dy.row<float>(t), a.weight.row<float>(t)[j],
                              a.dy.cols(), a.drows.row<float>(r));
    }
  }
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(CombineRange);
HWY_EXPORT(CombineBackwardRange);

/// Rows per block: 64 K elements take about ten microseconds, well above the cost of handing out a block.
int64_t grain_of(int64_t width) {
  return std::max<int64_t>(1, 65536 / std::max<int64_t>(1, width));
}

}  // namespace

void gather_rows(Context& ctx, const GatherRows& a) {
  const int64_t* slot_of_row = a.slot_of_row.as<int64_t>();
  parallel_for(ctx, a.rows.rows(), grain_of(a.x.cols()), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(a.rows.row<float>(r), a.x.row<float>(slot_of_row[r] / a.top_k),
                  static_cast<size_t>(a.x.cols()) * sizeof(float));
    }
  });
}

/// Combines the same rows with weights of one.
void gather_rows_backward(Context& ctx, const GatherRowsBackward& a) {
  cpu::combine_rows(
      ctx,
      {.rows = a.drows, .row_of_slot = a.row_of_slot, .weight = {}, .y = a.dx, .accumulate = a.accumulate});
}

void combine_rows(Context& ctx, const CombineRows& a) {
  parallel_for(ctx, a.y.rows(), grain_of(a.top_k() * a.y.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(CombineRange)(a, begin, end);
  });
}

void combine_rows_backward(Context& ctx, const CombineRowsBackward& a) {
  parallel_for(ctx, a.dy.rows(), grain_of(a.row_of_slot.cols() * a.dy.cols()),
               [&](int64_t begin, int64_t end) {
                 HWY_DYNAMIC_DISPATCH(CombineBackwardRange)(a, begin, end);
               });
}

}  // namespace natrix::cpu
#endif
