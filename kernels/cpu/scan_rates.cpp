#include "kernels/base/parallel.h"
#include "kernels/cpu/scan_plan.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/scan_rates.cpp"
#include <algorithm>
#include <hwy/foreach_target.h>  // compiles this file again for every target
#include <hwy/highway.h>

#include "kernels/cpu/scan-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// ScaledRate of `count` channels, transposed into A2. `rates` is scratch of the size of A_log.
void ScaledRatesBlock(const float* A_log, int64_t count, int64_t states, float* rates, float* A2) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t size = count * states;
  int64_t i = 0;
  for (; i + lanes <= size; i += lanes) hn::StoreU(ScaledRate(hn::LoadU(d, A_log + i)), d, rates + i);
  if (i < size) StoreSome(d, ScaledRate(LoadSome(d, A_log + i, size - i)), rates + i, size - i);
  Transpose(rates, states, count, states, A2, kScanBlock);
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(ScaledRatesBlock);

View scaled_rates(Context& ctx, View A_log, const ScanPlan& plan) {
  const View A2 = ctx.arena().zeros(Dtype::kF32, {plan.blocks(), plan.state_floats()});
  Arena::Frame frame(ctx.arena());
  const View rates = ctx.arena().like(A_log);
  parallel_for(ctx, plan.blocks(), 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ScanTask task = plan.task(i);
      HWY_DYNAMIC_DISPATCH(ScaledRatesBlock)
      (A_log.row<float>(task.first), task.count, plan.states, rates.row<float>(task.first), A2.row<float>(i));
    }
  });
  return A2;
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
