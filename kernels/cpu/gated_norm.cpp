// Gate and RMS normalisation by groups of channels, on vectors. A row stays in the L1 cache between passes;
// the gate is computed once in each, which is cheaper than storing it.
#include "kernels/gated_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gated_norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

/// A group of a row.
template <GatedNorm kOrder>
struct GatedGroup {
  const float *x, *z, *weight;

  HWY_INLINE Floats32 gate(int64_t i, int64_t n) const { return Silu(F32(), Get(z + i, n)); }
  /// What is normalised.
  HWY_INLINE Floats32 s(int64_t i, int64_t n) const {
    const auto v = Get(x + i, n);
    return kOrder == GatedNorm::kGateThenNorm ? hn::Mul(v, gate(i, n)) : v;
  }
  /// What multiplies the normalised value, but for the weight.
  HWY_INLINE Floats32 after(Floats32 v, int64_t i, int64_t n) const {
    return kOrder == GatedNorm::kGateThenNorm ? v : hn::Mul(v, gate(i, n));
  }
  HWY_INLINE Floats32 weigh(Floats32 v, int64_t i, int64_t n) const {
    return kOrder == GatedNorm::kGateOnly ? v : hn::Mul(v, Get(weight + i, n));
  }
};

template <GatedNorm kOrder, class Args>
HWY_INLINE GatedGroup<kOrder> GroupOf(const Args& a, int64_t r, int64_t first) {
  return {a.x.template row<float>(r) + first, a.z.template row<float>(r) + first,
          a.weight ? a.weight.template as<float>() + first : nullptr};
}

template <GatedNorm kOrder>
void ForwardGroup(const GatedNormForward& a, int64_t r, int64_t g, int64_t width) {
  const F32 d;
  const auto group = GroupOf<kOrder>(a, r, g * width);
  float inv_rms = 1;
  if constexpr (kOrder != GatedNorm::kGateOnly) {
    auto squares = hn::Zero(d);
    ForLanes(width, [&](int64_t i, int64_t n) HWY_ATTR {
      const auto s = group.s(i, n);
      squares = hn::MulAdd(s, s, squares);
    });
    const double mean =
        static_cast<double>(hn::GetLane(hn::SumOfLanes(d, squares))) / static_cast<double>(width);
    inv_rms = static_cast<float>(1 / std::sqrt(mean + a.eps));
  }
  float* y = a.y.row<float>(r) + g * width;
  ForLanes(width, [&](int64_t i, int64_t n) HWY_ATTR {
    const auto normed = hn::Mul(group.s(i, n), hn::Set(d, inv_rms));
    Put(group.after(group.weigh(normed, i, n), i, n), y + i, n);
  });
  if (a.inv_rms) a.inv_rms.as<float>()[r * a.groups + g] = inv_rms;
}

/// dweight (+=) is the partial sum of this block; null if not wanted.
template <GatedNorm kOrder>
void BackwardGroup(const GatedNormBackward& a, int64_t r, int64_t g, int64_t width, float* dweight) {
  const F32 d;
  const int64_t first = g * width;
  const auto group = GroupOf<kOrder>(a, r, first);
  const float* dy = a.dy.row<float>(r) + first;
  float *dx = a.dx.row<float>(r) + first, *dz = a.dz.row<float>(r) + first;
  constexpr bool kNorm = kOrder != GatedNorm::kGateOnly;
  const auto inv_rms = hn::Set(d, kNorm ? a.inv_rms.as<float>()[r * a.groups + g] : 1.0f);
  auto mean = hn::Zero(d);  // of dŝ ⊙ ŝ
  if constexpr (kNorm) {
    auto dot = hn::Zero(d);
    ForLanes(width, [&](int64_t i, int64_t n) HWY_ATTR {
      const auto normed = hn::Mul(group.s(i, n), inv_rms), gated = group.after(Get(dy + i, n), i, n);
      if (dweight != nullptr)
        Put(hn::MulAdd(gated, normed, Get(dweight + first + i, n)), dweight + first + i, n);
      dot = hn::MulAdd(group.weigh(gated, i, n), normed, dot);
    });
    mean = hn::Set(d, hn::GetLane(hn::SumOfLanes(d, dot)) / static_cast<float>(width));
  }
  ForLanes(width, [&](int64_t i, int64_t n) HWY_ATTR {
    const auto x = Get(group.x + i, n), z = Get(group.z + i, n), g_y = Get(dy + i, n);
    const auto normed = hn::Mul(group.s(i, n), inv_rms);
    auto ds = group.weigh(group.after(g_y, i, n), i, n);
    if constexpr (kNorm) ds = hn::Mul(inv_rms, hn::NegMulAdd(normed, mean, ds));
    const bool first_gate = kOrder == GatedNorm::kGateThenNorm;
    const auto dgate = first_gate ? hn::Mul(ds, x) : group.weigh(hn::Mul(g_y, normed), i, n);
    Put(first_gate ? hn::Mul(ds, group.gate(i, n)) : ds, dx + i, n);
    Put(hn::Mul(dgate, SiluDerivative(d, z)), dz + i, n);
  });
}

/// Calls body.template operator()<kOrder>().
template <class Body>
HWY_INLINE void ForOrder(GatedNorm order, const Body& body) {
  switch (order) {
    case GatedNorm::kGateThenNorm: return body.template operator()<GatedNorm::kGateThenNorm>();
    case GatedNorm::kNormThenGate: return body.template operator()<GatedNorm::kNormThenGate>();
    case GatedNorm::kGateOnly: return body.template operator()<GatedNorm::kGateOnly>();
  }
}

void ForwardRows(const GatedNormForward& a, int64_t begin, int64_t end) {
  ForOrder(a.order, [&]<GatedNorm kOrder>() HWY_ATTR {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t g = 0; g < a.groups; ++g) ForwardGroup<kOrder>(a, r, g, a.x.cols() / a.groups);
    }
  });
}

void BackwardRows(const GatedNormBackward& a, int64_t begin, int64_t end, float* dweight) {
  ForOrder(a.order, [&]<GatedNorm kOrder>() HWY_ATTR {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t g = 0; g < a.groups; ++g) BackwardGroup<kOrder>(a, r, g, a.x.cols() / a.groups, dweight);
    }
  });
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(ForwardRows);
HWY_EXPORT(BackwardRows);

constexpr int64_t kMostPartials = 64;  // partial dweight rows, which one thread adds up

}  // namespace

void gated_norm_forward(Context& ctx, const GatedNormForward& args) {
  require_f32(args.x, "gated_norm_forward: the CPU backend computes in f32 only");
  parallel_for(ctx, args.x.rows(), rows_a_block(args.x.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ForwardRows)(args, begin, end);
  });
}

void gated_norm_backward(Context& ctx, const GatedNormBackward& args) {
  require_f32(args.x, "gated_norm_backward: the CPU backend computes in f32 only");
  const int64_t rows = args.x.rows(), cols = args.x.cols();
  const int64_t grain = std::max(rows_a_block(cols), (rows + kMostPartials - 1) / kMostPartials);
  Arena::Frame frame(ctx.arena());
  const View partial =
      args.dweight ? ctx.arena().zeros(Dtype::kF32, {(rows + grain - 1) / grain, cols}) : View{};
  parallel_for(ctx, rows, grain, [&](int64_t begin, int64_t end) {
    float* dweight = partial ? partial.row<float>(begin / grain) : nullptr;
    HWY_DYNAMIC_DISPATCH(BackwardRows)(args, begin, end, dweight);
  });
  for (int64_t b = 0; partial && b < partial.rows(); ++b) {
    for (int64_t c = 0; c < cols; ++c) args.dweight.as<float>()[c] += partial.row<float>(b)[c];
  }
}

}  // namespace natrix::cpu
#endif
