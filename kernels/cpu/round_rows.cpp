// round_activations (kernels/packed_weight.h) with vectors, for whole blocks. It runs on each row of a
// decoding step before int8 weights.
#include "kernels/cpu/round_rows.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/simd_targets.h"
#include "kernels/packed_weight.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/round_rows.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// The largest |x| of a block; not finite if any x is not finite.
HWY_INLINE float LargestMagnitude(const float* x) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  // As unsigned bits, magnitudes keep their order, and NaN is larger than any number.
  auto most = hn::Zero(di);
  for (int64_t k = 0; k < RoundedActivations::kBlock; k += static_cast<int64_t>(hn::Lanes(d)))
    most = hn::Max(most, hn::BitCast(di, hn::Abs(hn::LoadU(d, x + k))));
  return hn::GetLane(hn::BitCast(d, hn::MaxOfLanes(di, most)));
}

float RoundBlock(const float* x, int16_t* integers) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<int16_t, decltype(d)> d16;
  const float most = LargestMagnitude(x);
  const float step = most / RoundedActivations::kMost, per_step = RoundedActivations::kMost / most;
  if (!std::isfinite(step) || !std::isfinite(per_step)) {
    std::fill_n(integers, RoundedActivations::kBlock, int16_t{0});
    return std::isfinite(step) ? 0.0f : step;
  }
  for (int64_t k = 0; k < RoundedActivations::kBlock; k += static_cast<int64_t>(hn::Lanes(d))) {
    const auto rounded = hn::NearestInt(hn::Mul(hn::LoadU(d, x + k), hn::Set(d, per_step)));
    hn::StoreU(hn::DemoteTo(d16, rounded), d16, integers + k);
  }
  return step;
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(RoundBlock);

void round_row(const float* x, int64_t K, float* steps, int16_t* integers) {
  constexpr int64_t kBlock = RoundedActivations::kBlock;
  int64_t k = 0;
  for (; k + kBlock <= K; k += kBlock)
    steps[k / kBlock] = HWY_DYNAMIC_DISPATCH(RoundBlock)(x + k, integers + k);
  if (k < K) steps[k / kBlock] = round_activations({x + k, static_cast<size_t>(K - k)}, integers + k);
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
