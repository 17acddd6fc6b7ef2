// AdamW in one pass over memory, and the global norm. Bound by memory bandwidth.
#include "kernels/optim.h"

#include <cmath>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/optim.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

#ifndef NATRIX_KERNELS_CPU_OPTIM_ONCE_
#define NATRIX_KERNELS_CPU_OPTIM_ONCE_
namespace natrix::cpu {
namespace {

/// The scalars of a step, computed in double.
///   direction = (m / m_bias) / (√(v / v_bias) + eps)
struct AdamWStep {
  float grad_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, inv_m_bias, inv_sqrt_v_bias, eps, lr,
      decay;

  explicit AdamWStep(const AdamW& a)
      : grad_scale(static_cast<float>(a.grad_scale)),
        beta1(static_cast<float>(a.beta1)),
        one_minus_beta1(static_cast<float>(1 - a.beta1)),
        beta2(static_cast<float>(a.beta2)),
        one_minus_beta2(static_cast<float>(1 - a.beta2)),
        inv_m_bias(static_cast<float>(1 / (1 - std::pow(a.beta1, static_cast<double>(a.step))))),
        inv_sqrt_v_bias(
            static_cast<float>(1 / std::sqrt(1 - std::pow(a.beta2, static_cast<double>(a.step))))),
        eps(static_cast<float>(a.eps)),
        lr(static_cast<float>(a.lr)),
        decay(static_cast<float>(a.weight_decay)) {}
};

}  // namespace
}  // namespace natrix::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

void AdamWRange(const AdamW& a, const AdamWStep& s, int64_t begin, int64_t end) {
  const F32 d;
  const float* g = a.g.as<float>() + begin;
  float *w = a.w.as<float>() + begin, *m = a.m.as<float>() + begin, *v = a.v.as<float>() + begin;
  ForLanes(end - begin, [&](int64_t i, int64_t n) HWY_ATTR {
    const auto g_i = hn::Mul(Get(g + i, n), hn::Set(d, s.grad_scale));
    const auto m_i =
        hn::MulAdd(hn::Set(d, s.beta1), Get(m + i, n), hn::Mul(hn::Set(d, s.one_minus_beta1), g_i));
    const auto v_i = hn::MulAdd(hn::Set(d, s.beta2), Get(v + i, n),
                                hn::Mul(hn::Mul(hn::Set(d, s.one_minus_beta2), g_i), g_i));
    Put(m_i, m + i, n);
    Put(v_i, v + i, n);
    const auto spread = hn::MulAdd(hn::Sqrt(v_i), hn::Set(d, s.inv_sqrt_v_bias), hn::Set(d, s.eps));
    const auto direction = hn::Div(hn::Mul(m_i, hn::Set(d, s.inv_m_bias)), spread);
    const auto w_i = Get(w + i, n);
    const auto descent = hn::MulAdd(hn::Set(d, s.decay), w_i, direction);
    Put(hn::NegMulAdd(hn::Set(d, s.lr), descent, w_i), w + i, n);
  });
}

double SquaredNormOf(const float* x, int64_t count) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto even = hn::Zero(d), odd = hn::Zero(d);  // two chains hide the latency of an addition
  int64_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const auto x0 = hn::PromoteTo(d, hn::LoadU(half, x + i)),
               x1 = hn::PromoteTo(d, hn::LoadU(half, x + i + lanes));
    even = hn::MulAdd(x0, x0, even);
    odd = hn::MulAdd(x1, x1, odd);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(AdamWRange);
HWY_EXPORT(SquaredNormOf);

}  // namespace

void adamw(Context& ctx, const AdamW& args) {
  require_f32(args.w, "adamw: the CPU backend computes in f32 only");
  const AdamWStep step(args);
  parallel_for(ctx, args.w.count(), kElementsABlock, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(AdamWRange)(args, step, begin, end);
  });
}

void squared_norm(Context& ctx, const SquaredNorm& args) {
  require_f32(args.x, "squared_norm: the CPU backend computes in f32 only");
  const int64_t count = args.x.count();
  Arena::Frame frame(ctx.arena());
  View partial = ctx.arena().zeros(Dtype::kF64, {(count + kElementsABlock - 1) / kElementsABlock});
  parallel_for(ctx, count, kElementsABlock, [&](int64_t begin, int64_t end) {
    partial.as<double>()[begin / kElementsABlock] =
        HWY_DYNAMIC_DISPATCH(SquaredNormOf)(args.x.as<float>() + begin, end - begin);
  });
  double& sum = *args.sum.as<double>();
  sum = 0;
  for (int64_t b = 0; b < partial.count(); ++b) sum += partial.as<double>()[b];
}

}  // namespace natrix::cpu
#endif
