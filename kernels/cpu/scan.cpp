// The selective scan forward: packs a tile of tokens, then walks the recurrence with lanes over channels. It
// is bound by one exponential per (token, channel, state); see bench/scan_bench.cpp.
#include "kernels/scan.h"

#include "kernels/base/parallel.h"
#include "kernels/cpu/scan_step.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/scan.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/scan_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// y = D x; the sum over states is added to it.
HWY_INLINE void PackSkip(const BlockRows& x, float* D, int64_t tokens, PackedTile& y) {
  if (D == nullptr) {
    std::fill_n(y.values, kScanTile * kScanBlock, 0.0f);
    return;
  }
  const BlockRows skip{D, 0, x.count};
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t v = 0; v < VectorsOf(x.count); ++v) {
      hn::Store(hn::Mul(skip.load(0, v), x.load(t, v)), Floats(), y.at(v, t));
    }
  }
}

/// tile_states: receives the state before each tile, or null.
void ForwardBlock(const ScanForward& a, const ScanPlan& plan, const ScanTask& task, const float* A2, float* h,
                  float* tile_states) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  PackedTile step, input, y;
  const float fastest = FastestRate(A2, plan);
  LoadState(a.state_in, plan, task, h);
  for (int64_t t = 0; t < plan.tokens; t += kScanTile) {
    const int64_t tokens = std::min(kScanTile, plan.tokens - t);
    if (tile_states != nullptr)
      std::copy_n(h, plan.state_floats(), tile_states + t / kScanTile * plan.state_floats());
    const BlockRows x = RowsOf(a.x, plan, task, t), dt = RowsOf(a.dt, plan, task, t),
                    out = RowsOf(a.y, plan, task, t);
    const float largest =
        PackStepsAndInputs(dt, x, document_starts(a.doc_start, task, t), tokens, step, input);
    const bool mild = IsMild(largest, fastest);
    PackSkip(x, a.D ? a.D.as<float>() + task.first : nullptr, tokens, y);
    const TokenRows B = StatesOf(a.B, plan, task, t), C = StatesOf(a.C, plan, task, t);
    const int64_t ahead = std::min(kScanTile, plan.tokens - t - tokens), vectors = VectorsOf(task.count);
    for (int64_t v = 0; v < vectors; ++v) {
      PrefetchRows(RowsOf(a.x, plan, task, t + tokens), ahead, v, vectors);
      PrefetchRows(RowsOf(a.dt, plan, task, t + tokens), ahead, v, vectors);
      PrefetchRows(out, tokens, v, vectors);
      for (int64_t n = 0; n < plan.padded_states(); n += kScanGroup) {
        const int64_t at = n * kScanBlock + v * lanes;
        const Strip strip{tokens, mild, step.strip(v), input.strip(v), A2 + at, B.from(n), C.from(n)};
        Advance<true>(strip, h + at, y.strip(v));
      }
    }
    Unpack(y, tokens, out);
  }
  StoreState(h, plan, task, a.state_out);
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(ForwardBlock);

void scan_forward(Context& ctx, const ScanForward& args) {
  const ScanPlan plan(args.dt, args.A_log);
  if (is_scan_step(plan) && !args.tile_states) return scan_step(ctx, args, plan);
  Arena::Frame frame(ctx.arena());
  ScanForward a = args;
  a.B = pad_states(ctx, args.B, plan);
  a.C = pad_states(ctx, args.C, plan);
  const View A2 = scaled_rates(ctx, args.A_log, plan);
  const View h = ctx.arena().take(Dtype::kF32, {plan.tasks(), plan.state_floats()});
  parallel_for(ctx, plan.tasks(), plan.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ScanTask task = plan.task(i);
      float* tile_states = a.tile_states ? a.tile_states.row<float>(i * plan.tiles()) : nullptr;
      HWY_DYNAMIC_DISPATCH(ForwardBlock)
      (a, plan, task, A2.row<float>(task.block), h.row<float>(i), tile_states);
    }
  });
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
