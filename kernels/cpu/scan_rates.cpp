#include "kernels/base/parallel.h"
#include "kernels/cpu/scan_plan.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/scan_rates.cpp"
#include <algorithm>
#include <hwy/foreach_target.h>  // compiles this file again for every target
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// −exp(A_log) log2 e of `count` channels, transposed. The smallest rate is 1e-36: too slow for any decay to
/// show, yet FLT_MAX times it still underflows, which is how a document start works (scan-inl.h).
void ScaledRatesBlock(const float* A_log, int64_t count, int64_t states, float* A2) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float rates[hn::MaxLanes(d)];
  for (int64_t c = 0; c < count; ++c) {
    for (int64_t n = 0; n < states; n += lanes) {
      const int64_t some = std::min(lanes, states - n);
      const auto growth = Exp(d, LoadSome(d, A_log + c * states + n, some));
      // The product as the second operand: x86 then hands a NaN through.
      hn::Store(hn::Min(hn::Set(d, -1e-36f), hn::Mul(growth, hn::Set(d, -1.44269504f))), d, rates);
      for (int64_t k = 0; k < some; ++k) A2[(n + k) * kScanBlock + c] = rates[k];
    }
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(ScaledRatesBlock);

View scaled_rates(Context& ctx, View A_log, const ScanPlan& plan) {
  const View A2 = ctx.arena().zeros(Dtype::kF32, {plan.blocks(), plan.state_floats()});
  parallel_for(ctx, plan.blocks(), 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ScanTask task = plan.task(i);
      HWY_DYNAMIC_DISPATCH(ScaledRatesBlock)
      (A_log.row<float>(task.first), task.count, plan.states, A2.row<float>(i));
    }
  });
  return A2;
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
