// The selective scan backward. Gradients: docs/math/scan.md.
//
// Tiles go from the last to the first. Each is first walked forward from the state that the
// forward pass saved before it, keeping h and exp(dt A) in L1, and then backward. So a token costs
// one exponential per state.
//
// Sums over channels are partial per block and added in order of the blocks. Sums over tokens are in order of
// time, sums over sequences in order of the batch. So the number of threads does not change any bit.
#include "kernels/base/parallel.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/scan_backward.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/scan_backward_scratch.h"
#include "kernels/cpu/scan_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// dx, ddt and dD of a tile, once Σ_n g B and Σ_n p A2 are known.
HWY_INLINE void FinishTile(const ScanBackward& a, const ScanPlan& plan, const ScanTask& task, int64_t t,
                           int64_t tokens, const PackedTile& gB, const PackedTile& pA2, float* dD) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const BlockRows x = RowsOf(a.x, plan, task, t), dt = RowsOf(a.dt, plan, task, t),
                  dy = RowsOf(a.dy, plan, task, t);
  const BlockRows dx = RowsOf(a.dx, plan, task, t), ddt = RowsOf(a.ddt, plan, task, t);
  const BlockRows D{a.D ? a.D.as<float>() + task.first : nullptr, 0, task.count};
  HWY_ALIGN float tile_dD[kScanBlock] = {};  // summed per tile, like dA in Retreat
  for (int64_t i = 0; i < tokens; ++i) {
    for (int64_t v = 0; v < VectorsOf(task.count); ++v) {
      const auto sum = hn::Load(d, gB.at(v, i)), input = x.load(i, v), out = dy.load(i, v);
      const auto skip = a.D ? D.load(0, v) : hn::Zero(d);
      dx.store(hn::MulAdd(dt.load(i, v), sum, hn::Mul(skip, out)), i, v);
      const auto through_decay = hn::Mul(hn::Load(d, pA2.at(v, i)), hn::Set(d, 0.693147181f));  // A = A2 ln 2
      ddt.store(hn::MulAdd(input, sum, through_decay), i, v);
      hn::Store(hn::MulAdd(out, input, hn::Load(d, tile_dD + v * lanes)), d, tile_dD + v * lanes);
    }
  }
  for (int64_t c = 0; c < kScanBlock; ++c) dD[c] += tile_dD[c];
}

/// Prefetches one part of the rows that finishing this tile writes and that packing the preceding tile reads.
HWY_INLINE void PrefetchForRetreat(const ScanBackward& a, const ScanPlan& plan, const ScanTask& task,
                                   int64_t t, int64_t tokens, int64_t part, int64_t parts) {
  for (const View& v : {a.dx, a.ddt}) PrefetchRows(RowsOf(v, plan, task, t), tokens, part, parts);
  if (t == 0) return;
  for (const View& v : {a.x, a.dt, a.dy})
    PrefetchRows(RowsOf(v, plan, task, t - kScanTile), kScanTile, part, parts);
}

/// The whole backward work of one tile.
HWY_INLINE void RetreatTile(const ScanBackward& a, const ScanPlan& plan, const ScanTask& task, int64_t t,
                            int64_t tokens, const BackwardTask& own) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  PackedTile step, input, dy, gB, pA2;
  const BlockRows dt = RowsOf(a.dt, plan, task, t);
  const float largest = PackStepsAndInputs(dt, RowsOf(a.x, plan, task, t),
                                           document_starts(a.doc_start, task, t), tokens, step, input);
  const bool mild = IsMild(largest, FastestRate(own.A2, plan));
  Pack(RowsOf(a.dy, plan, task, t), tokens, dy);
  std::fill_n(gB.values, kScanTile * kScanBlock, 0.0f);
  std::fill_n(pA2.values, kScanTile * kScanBlock, 0.0f);
  const TokenRows B = StatesOf(a.B, plan, task, t), C = StatesOf(a.C, plan, task, t);

  const float* h_before = own.before_tile(t / kScanTile);
  SavedStrip saved;
  GroupOfTokens sum_B, sum_C;
  for (int64_t n = 0; n < plan.padded_states(); n += kScanGroup) {
    PrefetchForRetreat(a, plan, task, t, tokens, n / kScanGroup, plan.padded_states() / kScanGroup);
    std::fill_n(sum_B.values, tokens * kScanGroup * lanes, 0.0f);
    std::fill_n(sum_C.values, tokens * kScanGroup * lanes, 0.0f);
    for (int64_t v = 0; v < VectorsOf(task.count); ++v) {
      const int64_t at = n * kScanBlock + v * lanes;
      const Strip strip{tokens, mild, step.strip(v), input.strip(v), own.A2 + at, B.from(n), C.from(n)};
      const Group h = Remember(strip, h_before + at, saved);
      Retreat(strip, saved, h, dy.strip(v), own.carried + at,
              {gB.strip(v), pA2.strip(v), sum_B.values, sum_C.values, own.dA + at});
    }
    for (int64_t i = 0; i < tokens; ++i) {
      const int64_t to = (t % kScanStretch + i) * plan.padded_states() + n;
      SumLanes(sum_B.values + i * kScanGroup * lanes, own.partial_dB + to);
      SumLanes(sum_C.values + i * kScanGroup * lanes, own.partial_dC + to);
    }
  }
  FinishTile(a, plan, task, t, tokens, gB, pA2, own.dD);
}

void RetreatStretch(const ScanBackward& a, const ScanPlan& plan, const ScanTask& task,
                    const BackwardTask& own, int64_t stretch) {
  const int64_t begin = stretch * kScanStretch, end = std::min(begin + kScanStretch, plan.tokens);
  if (end == plan.tokens) {
    LoadState(a.dstate_out, plan, task, own.carried);
    LoadState({}, plan, task, own.dA);
    std::fill_n(own.dD, kScanBlock, 0.0f);
  }
  for (int64_t t = (end - 1) / kScanTile * kScanTile; t >= begin; t -= kScanTile) {
    RetreatTile(a, plan, task, t, std::min(kScanTile, end - t), own);
  }
  if (stretch == 0) StoreState(own.carried, plan, task, a.dstate_in);
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(RetreatStretch);

void scan_backward(Context& ctx, const ScanBackward& args) {
  Arena::Frame frame(ctx.arena());
  const ScanPlan plan(args.dt, args.A_log);
  ScanBackward a = args;
  a.B = pad_states(ctx, args.B, plan);
  a.C = pad_states(ctx, args.C, plan);
  const BackwardScratch scratch(ctx, plan, scaled_rates(ctx, args.A_log, plan), args.tile_states);

  for (int64_t stretch = plan.stretches() - 1; stretch >= 0; --stretch) {
    parallel_for(ctx, plan.tasks(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        HWY_DYNAMIC_DISPATCH(RetreatStretch)(a, plan, plan.task(i), scratch.task(i), stretch);
      }
    });
    scratch.add_blocks(ctx, stretch, args.dB, args.dC);
  }
  scratch.add_sequences(ctx, args.dA_log, args.dD);
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
