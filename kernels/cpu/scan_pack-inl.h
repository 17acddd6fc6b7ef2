// Converts between the caller's layout of the scan's operands and the strips of scan-inl.h.
//
// A packed tile holds the vectors of a block one after another, each with all of its tokens:
//   element (vector v, token t, lane) at  (v · kScanTile + t) · lanes + lane
// So a strip is one run of memory, whatever the row stride is. (In a common model, rows of d_inner floats are
// 6 KB apart; a column of them would fall into two sets of an L1 cache.)

#if defined(NATRIX_KERNELS_CPU_SCAN_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_SCAN_PACK_INL_H_
#undef NATRIX_KERNELS_CPU_SCAN_PACK_INL_H_
#else
#define NATRIX_KERNELS_CPU_SCAN_PACK_INL_H_
#endif

#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/scan-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

struct PackedTile {
  HWY_ALIGN float values[kScanTile * kScanBlock + kStagger];

  /// The tokens of vector v, one after another.
  HWY_INLINE float* strip(int64_t v) {
    return values + v * kScanTile * static_cast<int64_t>(hn::Lanes(Floats()));
  }
  HWY_INLINE const float* strip(int64_t v) const {
    return values + v * kScanTile * static_cast<int64_t>(hn::Lanes(Floats()));
  }
  HWY_INLINE float* at(int64_t v, int64_t t) {
    return strip(v) + t * static_cast<int64_t>(hn::Lanes(Floats()));
  }
  HWY_INLINE const float* at(int64_t v, int64_t t) const {
    return strip(v) + t * static_cast<int64_t>(hn::Lanes(Floats()));
  }
};

/// Rows of a block in the caller's layout. `count` channels exist; the rest of the block reads as zero.
struct BlockRows {
  float* first;
  int64_t stride, count;

  HWY_INLINE Vector load(int64_t t, int64_t v) const {
    const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
    const float* p = first + t * stride + v * lanes;
    return count - v * lanes >= lanes ? hn::LoadU(Floats(), p) : LoadSome(Floats(), p, count - v * lanes);
  }
  HWY_INLINE void store(Vector value, int64_t t, int64_t v) const {
    const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
    float* p = first + t * stride + v * lanes;
    if (count - v * lanes >= lanes) {
      hn::StoreU(value, Floats(), p);
    } else {
      StoreSome(Floats(), value, p, count - v * lanes);
    }
  }
};

/// Prefetches into L2 one of `parts` equal parts of these rows, which are read or written a tile later or at
/// the end of this one. A caller that walks `parts` strips meanwhile prefetches one part with each. A block's
/// rows are d_inner floats apart, each in its own page, and no hardware prefetcher crosses pages.
HWY_INLINE void PrefetchRows(const BlockRows& rows, int64_t tokens, int64_t part, int64_t parts) {
  constexpr int64_t kLine = 16;  // floats
  for (int64_t t = tokens * part / parts; t < tokens * (part + 1) / parts; ++t) {
    for (int64_t c = 0; c < rows.count; c += kLine) prefetch_into_l2(rows.first + t * rows.stride + c);
  }
}

/// The number of vectors that hold `count` channels.
HWY_INLINE int64_t VectorsOf(int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  return (count + lanes - 1) / lanes;
}

HWY_INLINE BlockRows RowsOf(View v, const ScanPlan& plan, const ScanTask& task, int64_t t) {
  return {block_rows(v, plan, task, t), v.row_stride, task.count};
}

HWY_INLINE TokenRows StatesOf(View v, const ScanPlan& plan, const ScanTask& task, int64_t t) {
  return {v.row<float>(task.sequence * plan.tokens + t), v.row_stride};
}

HWY_INLINE void Pack(const BlockRows& rows, int64_t tokens, PackedTile& tile) {
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t v = 0; v < VectorsOf(rows.count); ++v) hn::Store(rows.load(t, v), Floats(), tile.at(v, t));
  }
}

HWY_INLINE void Unpack(const PackedTile& tile, int64_t tokens, const BlockRows& rows) {
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t v = 0; v < VectorsOf(rows.count); ++v) rows.store(hn::Load(Floats(), tile.at(v, t)), t, v);
  }
}

/// step = dt, or FLT_MAX where a document starts (scan-inl.h says why). Returns the largest step.
HWY_INLINE float PackSteps(const BlockRows& dt, const uint8_t* doc_start, int64_t tokens, PackedTile& step) {
  auto largest = hn::Zero(Floats());
  for (int64_t t = 0; t < tokens; ++t) {
    const bool starts = doc_start != nullptr && doc_start[t] != 0;
    for (int64_t v = 0; v < VectorsOf(dt.count); ++v) {
      const auto of_token = starts ? hn::Set(Floats(), FLT_MAX) : dt.load(t, v);
      largest = hn::Max(of_token, largest);
      hn::Store(of_token, Floats(), step.at(v, t));
    }
  }
  return hn::GetLane(hn::MaxOfLanes(Floats(), largest));
}

/// The same, and also input = dt x.
HWY_INLINE float PackStepsAndInputs(const BlockRows& dt, const BlockRows& x, const uint8_t* doc_start,
                                    int64_t tokens, PackedTile& step, PackedTile& input) {
  auto largest = hn::Zero(Floats());
  for (int64_t t = 0; t < tokens; ++t) {
    const bool starts = doc_start != nullptr && doc_start[t] != 0;
    for (int64_t v = 0; v < VectorsOf(dt.count); ++v) {
      const auto of_token = dt.load(t, v);
      const auto step_of_token = starts ? hn::Set(Floats(), FLT_MAX) : of_token;
      largest = hn::Max(step_of_token, largest);
      hn::Store(step_of_token, Floats(), step.at(v, t));
      hn::Store(hn::Mul(of_token, x.load(t, v)), Floats(), input.at(v, t));
    }
  }
  return hn::GetLane(hn::MaxOfLanes(Floats(), largest));
}

/// The block's fastest rate, −min A2. It decides whether tiles are mild.
HWY_INLINE float FastestRate(const float* A2, const ScanPlan& plan) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  auto lowest = hn::Zero(Floats());
  for (int64_t i = 0; i < plan.state_floats(); i += lanes)
    lowest = hn::Min(hn::Load(Floats(), A2 + i), lowest);
  return -hn::GetLane(hn::MinOfLanes(Floats(), lowest));
}

/// Also false if the rate is infinite or the product is NaN. A NaN step may go unnoticed:
/// Exp2Normal propagates it.
HWY_INLINE bool IsMild(float largest_step, float fastest_rate) {
  return largest_step * fastest_rate <= 126.0f;
}

/// Copies a task's part of a state [B, I, N] into the task's layout [n][channel], zero-padded.
/// An empty state is zero.
HWY_INLINE void LoadState(View state, const ScanPlan& plan, const ScanTask& task, float* to) {
  std::fill_n(to, plan.state_floats(), 0.0f);
  if (state) Transpose(block_state(state, plan, task), plan.states, task.count, plan.states, to, kScanBlock);
}

/// The reverse of LoadState. Does nothing for an empty state.
HWY_INLINE void StoreState(const float* from, const ScanPlan& plan, const ScanTask& task, View state) {
  if (state)
    Transpose(from, kScanBlock, plan.states, task.count, block_state(state, plan, task), plan.states);
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
