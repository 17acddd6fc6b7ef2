// Mamba-2 forward for one token, as in decoding. It is bound by the memory of the states, which are read and
// written once, in place and in the caller's layout. Lanes are the states of a channel.
#include "kernels/cpu/ssd_step.h"

#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/ssd_step.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/ssd_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// One channel: s ← decay s + input B. Returns Σ_n s C. s_in is null for a zero state, s_out if nobody reads
/// the new one.
HWY_INLINE float StepChannel(const float* s_in, float* s_out, float decay, float input, const float* B,
                             const float* C, int64_t states) {
  const F32 d;
  const auto keep = hn::Set(d, decay), add = hn::Set(d, input);
  auto y = hn::Zero(d);
  ForLanes(states, [&](int64_t n, int64_t count) HWY_ATTR {
    auto s = hn::Mul(add, Get(B + n, count));
    if (s_in != nullptr) s = hn::MulAdd(keep, Get(s_in + n, count), s);
    if (s_out != nullptr) Put(s, s_out + n, count);
    y = hn::MulAdd(s, Get(C + n, count), y);
  });
  return hn::GetLane(hn::SumOfLanes(d, y));
}

/// Heads [begin, end) of [B, H].
void StepHeads(const SsdForward& a, const SsdPlan& plan, int64_t begin, int64_t end) {
  SsdSteps steps;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t b = i / plan.heads, h = i % plan.heads, P = plan.channels, N = plan.states;
    const SsdTask task{.index = 0, .sequence = b, .group = 0, .block = 0, .first = h, .count = 1};
    const SsdDocuments documents(a.doc_start, task, {0, 1});
    PrepareSteps(a, plan, task, {0, 1}, h, documents, steps);
    const int64_t first = h / plan.heads_a_group() * N;  // of the group
    const float *B = a.B.row<float>(b) + first, *C = a.C.row<float>(b) + first;
    const float *x = a.x.row<float>(b) + h * P, *s_in = plan.state(a.state_in, task, h);
    float *y = a.y.row<float>(b) + h * P, *s_out = plan.state(a.state_out, task, h);
    const float D = a.D ? a.D.as<float>()[h] : 0.0f;
    for (int64_t p = 0; p < P; ++p) {
      y[p] = D * x[p] + StepChannel(s_in != nullptr ? s_in + p * N : nullptr,
                                    s_out != nullptr ? s_out + p * N : nullptr, steps.decay,
                                    steps.step[0] * x[p], B, C, N);
    }
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(StepHeads);

void ssd_step(Context& ctx, const SsdForward& args, const SsdPlan& plan) {
  constexpr int64_t kWorthwhile = 1 << 15;  // elements of the state: some 5 µs
  const int64_t grain = std::max<int64_t>(1, kWorthwhile / (plan.channels * plan.states));
  parallel_for(ctx, plan.batch * plan.heads, grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(StepHeads)(args, plan, begin, end);
  });
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
