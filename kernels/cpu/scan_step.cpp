// The selective scan for one token, as in decoding. Nothing is packed: state and rates are read in place,
// lanes over states, each as one run of memory. Only the products that sum to y are transposed, so that they
// are added in the order of scan.cpp and give the same bits.
#include "kernels/cpu/scan_step.h"

#include "kernels/base/parallel.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/scan_step.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/scan_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// A channel's coefficients.
struct ChannelStep {
  float step, input;  // as in Strip
  const float* A_log;
  const float* h;  // null: zero
};

/// exp(dt A) h + dt x B, for one vector of states from n on.
HWY_INLINE Vector Advanced(const ChannelStep& c, const float* B, int64_t n) {
  const Floats d;
  const auto decay = Exp2NonPositive(d, hn::Mul(hn::Set(d, c.step), ScaledRate(hn::LoadU(d, c.A_log + n))));
  const auto h = c.h != nullptr ? hn::LoadU(d, c.h + n) : hn::Zero(d);
  return hn::MulAdd(decay, h, hn::Mul(hn::Set(d, c.input), hn::LoadU(d, B + n)));
}

/// y + Σ_n h C, lanes over channels. `of_channels` holds a vector of states for each channel.
HWY_INLINE Vector AddOutputs(const float* of_channels, const float* C, Vector y) {
  const Floats d;
#if HWY_TARGET == HWY_SCALAR
  return hn::MulAdd(hn::Load(d, of_channels), hn::Set(d, C[0]), y);
#else
  for (int64_t n = 0; n < kMaxLanes; n += 4)
    y = FourTerms(d, of_channels + n, kMaxLanes).mul_add(d, C + n, y);
  return y;
#endif
}

/// Advances as many channels of a sequence as a vector has lanes, or those that are left.
void StepChannels(const ScanForward& a, const ScanPlan& plan, int64_t sequence, int64_t first,
                  int64_t count) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t N = plan.states, state = (sequence * plan.channels + first) * N;
  const bool starts = a.doc_start && a.doc_start.row<uint8_t>(sequence)[0] != 0;
  float *x = a.x.row<float>(sequence) + first, *dt = a.dt.row<float>(sequence) + first;
  const float *B = a.B.row<float>(sequence), *C = a.C.row<float>(sequence);
  const float* h_in = a.state_in ? a.state_in.as<float>() + state : nullptr;
  float* h_out = a.state_out ? a.state_out.as<float>() + state : nullptr;

  auto y = hn::Zero(d);
  if (a.D) {
    const BlockRows skip{a.D.as<float>() + first, 0, count}, inputs{x, 0, count};
    y = hn::Mul(skip.load(0, 0), inputs.load(0, 0));
  }
  HWY_ALIGN float of_channels[kMaxLanes * kMaxLanes] = {};
  for (int64_t n = 0; n < N; n += lanes) {
    for (int64_t i = 0; i < count; ++i) {
      const ChannelStep c{.step = starts ? FLT_MAX : dt[i],
                          .input = dt[i] * x[i],
                          .A_log = a.A_log.row<float>(first + i),
                          .h = h_in != nullptr ? h_in + i * N : nullptr};
      const auto h = Advanced(c, B, n);
      hn::Store(h, d, of_channels + i * lanes);
      if (h_out != nullptr) hn::StoreU(h, d, h_out + i * N + n);
    }
    y = AddOutputs(of_channels, C + n, y);
  }
  BlockRows{a.y.row<float>(sequence) + first, 0, count}.store(y, 0, 0);
}

void StepBlock(const ScanForward& a, const ScanPlan& plan, const ScanTask& task) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  for (int64_t i = 0; i < task.count; i += lanes)
    StepChannels(a, plan, task.sequence, task.first + i, std::min(lanes, task.count - i));
}

bool WholeVectors(int64_t states) {
  return states % static_cast<int64_t>(hn::Lanes(Floats())) == 0;
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(StepBlock);
HWY_EXPORT(WholeVectors);

bool is_scan_step(const ScanPlan& plan) {
  return plan.tokens == 1 && HWY_DYNAMIC_DISPATCH(WholeVectors)(plan.states);
}

void scan_step(Context& ctx, const ScanForward& args, const ScanPlan& plan) {
  constexpr int64_t kWorthwhile = 1 << 12;  // states: about 3 µs
  const int64_t grain = std::max<int64_t>(1, kWorthwhile / std::max<int64_t>(1, plan.state_floats()));
  parallel_for(ctx, plan.tasks(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) HWY_DYNAMIC_DISPATCH(StepBlock)(args, plan, plan.task(i));
  });
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
