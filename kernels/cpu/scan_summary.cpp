// A segment as a map of its state, forward and backward: the scan without its outputs.
#include "kernels/base/parallel.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/scan_summary.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/scan_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// Σ_t dt of every channel of a block; infinite if a document starts. Summed in f32 within a tile
/// and in double over tiles.
struct TotalStep {
  double total[kScanBlock] = {};

  HWY_INLINE void add(const PackedTile& step, int64_t tokens, int64_t count) {
    const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
    for (int64_t v = 0; v < VectorsOf(count); ++v) {
      auto sum = hn::Zero(Floats());
      for (int64_t t = 0; t < tokens; ++t) sum = hn::Add(sum, hn::Load(Floats(), step.at(v, t)));
      HWY_ALIGN float of_lane[kMaxLanes];
      hn::Store(sum, Floats(), of_lane);
      for (int64_t k = 0; k < lanes; ++k) total[v * lanes + k] += static_cast<double>(of_lane[k]);
    }
  }

  /// decay = 2^(A2 Σ dt), in a task's layout.
  HWY_INLINE void decay(const float* A2, int64_t padded_states, float* to) const {
    HWY_ALIGN float steps[kScanBlock];
    for (int64_t c = 0; c < kScanBlock; ++c)
      steps[c] = static_cast<float>(std::min<double>(total[c], FLT_MAX));
    const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
    for (int64_t i = 0; i < padded_states * kScanBlock; i += lanes) {
      const auto step = hn::Load(Floats(), steps + i % kScanBlock);
      hn::Store(Exp2NonPositive(Floats(), hn::Mul(step, hn::Load(Floats(), A2 + i))), Floats(), to + i);
    }
  }
};

void SummaryBlock(const ScanSummary& a, const ScanPlan& plan, const ScanTask& task, const float* A2, float* h,
                  float* decay) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  PackedTile step, input;
  TotalStep sum;
  const float fastest = FastestRate(A2, plan);
  LoadState({}, plan, task, h);
  for (int64_t t = 0; t < plan.tokens; t += kScanTile) {
    const int64_t tokens = std::min(kScanTile, plan.tokens - t);
    const BlockRows dt = RowsOf(a.dt, plan, task, t);
    const float largest = PackStepsAndInputs(dt, RowsOf(a.x, plan, task, t),
                                             document_starts(a.doc_start, task, t), tokens, step, input);
    const bool mild = IsMild(largest, fastest);
    sum.add(step, tokens, task.count);
    const TokenRows B = StatesOf(a.B, plan, task, t);
    for (int64_t v = 0; v < VectorsOf(task.count); ++v) {
      for (int64_t n = 0; n < plan.padded_states(); n += kScanGroup) {
        const int64_t at = n * kScanBlock + v * lanes;
        const Strip strip{tokens, mild, step.strip(v), input.strip(v), A2 + at, B.from(n), {}};
        Advance<false>(strip, h + at, nullptr);
      }
    }
  }
  sum.decay(A2, plan.padded_states(), decay);
  StoreState(decay, plan, task, a.decay);
  StoreState(h, plan, task, a.state);
}

void SummaryBackwardBlock(const ScanSummaryBackward& a, const ScanPlan& plan, const ScanTask& task,
                          const float* A2, float* carried, float* decay) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  PackedTile step, dy;
  TotalStep sum;
  const float fastest = FastestRate(A2, plan);
  LoadState({}, plan, task, carried);
  const int64_t tiles = (plan.tokens + kScanTile - 1) / kScanTile;
  for (int64_t t = (tiles - 1) * kScanTile; t >= 0; t -= kScanTile) {
    const int64_t tokens = std::min(kScanTile, plan.tokens - t);
    const float largest =
        PackSteps(RowsOf(a.dt, plan, task, t), document_starts(a.doc_start, task, t), tokens, step);
    const bool mild = IsMild(largest, fastest);
    Pack(RowsOf(a.dy, plan, task, t), tokens, dy);
    sum.add(step, tokens, task.count);
    const TokenRows C = StatesOf(a.C, plan, task, t);
    for (int64_t v = 0; v < VectorsOf(task.count); ++v) {
      for (int64_t n = 0; n < plan.padded_states(); n += kScanGroup) {
        const int64_t at = n * kScanBlock + v * lanes;
        const Strip strip{tokens, mild, step.strip(v), nullptr, A2 + at, {}, C.from(n)};
        RetreatState(strip, dy.strip(v), carried + at);
      }
    }
  }
  sum.decay(A2, plan.padded_states(), decay);
  StoreState(decay, plan, task, a.decay);
  StoreState(carried, plan, task, a.state);
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(SummaryBlock);
HWY_EXPORT(SummaryBackwardBlock);

void scan_summary(Context& ctx, const ScanSummary& args) {
  Arena::Frame frame(ctx.arena());
  const ScanPlan plan(args.dt, args.A_log);
  ScanSummary a = args;
  a.B = pad_states(ctx, args.B, plan);
  const View A2 = scaled_rates(ctx, args.A_log, plan);
  const View scratch = ctx.arena().take(Dtype::kF32, {plan.tasks(), 2, plan.state_floats()});
  parallel_for(ctx, plan.tasks(), plan.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ScanTask task = plan.task(i);
      HWY_DYNAMIC_DISPATCH(SummaryBlock)
      (a, plan, task, A2.row<float>(task.block), scratch.row<float>(2 * i), scratch.row<float>(2 * i + 1));
    }
  });
}

void scan_summary_backward(Context& ctx, const ScanSummaryBackward& args) {
  Arena::Frame frame(ctx.arena());
  const ScanPlan plan(args.dt, args.A_log);
  ScanSummaryBackward a = args;
  a.C = pad_states(ctx, args.C, plan);
  const View A2 = scaled_rates(ctx, args.A_log, plan);
  const View scratch = ctx.arena().take(Dtype::kF32, {plan.tasks(), 2, plan.state_floats()});
  parallel_for(ctx, plan.tasks(), plan.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ScanTask task = plan.task(i);
      HWY_DYNAMIC_DISPATCH(SummaryBackwardBlock)
      (a, plan, task, A2.row<float>(task.block), scratch.row<float>(2 * i), scratch.row<float>(2 * i + 1));
    }
  });
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
