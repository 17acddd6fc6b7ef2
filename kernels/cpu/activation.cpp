// Element-wise functions on vectors. All operands of an element are read before its results are written, so
// operands and results may alias.
#include "kernels/activation.h"

#include "kernels/cpu/elements.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

struct SiluFunction {
  static HWY_INLINE Floats32 Value(F32 d, Floats32 x) { return Silu(d, x); }
  static HWY_INLINE Floats32 Derivative(F32 d, Floats32 x) { return SiluDerivative(d, x); }
};

struct GeluFunction {
  static HWY_INLINE Floats32 Value(F32 d, Floats32 x) { return Gelu(d, x); }
  static HWY_INLINE Floats32 Derivative(F32 d, Floats32 x) { return GeluDerivative(d, x); }
};

struct Relu2Function {
  static HWY_INLINE Floats32 Value(F32 d, Floats32 x) {
    const auto positive = AtLeast(hn::Zero(d), x);
    return hn::Mul(positive, positive);
  }
  static HWY_INLINE Floats32 Derivative(F32 d, Floats32 x) {
    const auto positive = AtLeast(hn::Zero(d), x);
    return hn::Add(positive, positive);
  }
};

template <class Function>
void ForwardRows(const ActivationForward& a, int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t r = begin; r < end; ++r) {
    const float *x = a.x.row<float>(r), *up = a.up ? a.up.row<float>(r) : nullptr;
    float* out = a.out.row<float>(r);
    ForLanes(a.x.cols(), [&](int64_t i, int64_t n) HWY_ATTR {
      const auto y = Function::Value(d, Get(x + i, n));
      Put(up != nullptr ? hn::Mul(y, Get(up + i, n)) : y, out + i, n);
    });
  }
}

template <class Function>
void BackwardRows(const ActivationBackward& a, int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t r = begin; r < end; ++r) {
    const float *x = a.x.row<float>(r), *dout = a.dout.row<float>(r);
    const float* up = a.up ? a.up.row<float>(r) : nullptr;
    float *dx = a.dx.row<float>(r), *dup = a.dup ? a.dup.row<float>(r) : nullptr;
    ForLanes(a.x.cols(), [&](int64_t i, int64_t n) HWY_ATTR {
      const auto x_i = Get(x + i, n), dout_i = Get(dout + i, n);
      auto dy = dout_i;
      if (up != nullptr) {
        dy = hn::Mul(dout_i, Get(up + i, n));
        Put(hn::Mul(dout_i, Function::Value(d, x_i)), dup + i, n);
      }
      Put(hn::Mul(dy, Function::Derivative(d, x_i)), dx + i, n);
    });
  }
}

void ActivationForwardRows(const ActivationForward& a, int64_t begin, int64_t end) {
  switch (a.f) {
    case Activation::kSilu: return ForwardRows<SiluFunction>(a, begin, end);
    case Activation::kGelu: return ForwardRows<GeluFunction>(a, begin, end);
    case Activation::kRelu2: return ForwardRows<Relu2Function>(a, begin, end);
  }
}

void ActivationBackwardRows(const ActivationBackward& a, int64_t begin, int64_t end) {
  switch (a.f) {
    case Activation::kSilu: return BackwardRows<SiluFunction>(a, begin, end);
    case Activation::kGelu: return BackwardRows<GeluFunction>(a, begin, end);
    case Activation::kRelu2: return BackwardRows<Relu2Function>(a, begin, end);
  }
}

void SoftplusRows(const SoftplusForward& a, int64_t begin, int64_t end) {
  const F32 d;
  const float* bias = a.bias.as<float>();
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x.row<float>(r);
    float* y = a.y.row<float>(r);
    ForLanes(a.x.cols(), [&](int64_t i, int64_t n) HWY_ATTR {
      const auto x_i = Get(x + i, n);
      Put(Softplus(d, bias != nullptr ? hn::Add(x_i, Get(bias + i, n)) : x_i), y + i, n);
    });
  }
}

/// 1 − e^−y for y ≥ 0. Below one half it uses the series: steps dt are small, and 1 − (1 − dt) would
/// lose most of their bits.
HWY_INLINE Floats32 OneMinusExpNeg(F32 d, Floats32 y) {
  auto p = hn::Set(d, -1.0f / 40320);
  p = hn::MulAdd(p, y, hn::Set(d, 1.0f / 5040));
  p = hn::MulAdd(p, y, hn::Set(d, -1.0f / 720));
  p = hn::MulAdd(p, y, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, y, hn::Set(d, -1.0f / 24));
  p = hn::MulAdd(p, y, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, y, hn::Set(d, -0.5f));
  p = hn::Mul(y, hn::MulAdd(p, y, hn::Set(d, 1.0f)));
  const auto large = hn::Sub(hn::Set(d, 1.0f), Exp(d, hn::Neg(y)));
  return hn::IfThenElse(hn::Lt(y, hn::Set(d, 0.5f)), p, large);
}

void SoftplusBackwardRows(const SoftplusBackward& a, int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t r = begin; r < end; ++r) {
    const float *y = a.y.row<float>(r), *dy = a.dy.row<float>(r);
    float* dx = a.dx.row<float>(r);
    ForLanes(a.y.cols(), [&](int64_t i, int64_t n) HWY_ATTR {
      Put(hn::Mul(Get(dy + i, n), OneMinusExpNeg(d, Get(y + i, n))), dx + i, n);
    });
  }
}

void AccumulateRows(const Accumulate& a, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x.row<float>(r);
    float* y = a.y.row<float>(r);
    ForLanes(a.x.cols(),
             [&](int64_t i, int64_t n) HWY_ATTR { Put(hn::Add(Get(y + i, n), Get(x + i, n)), y + i, n); });
  }
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(ActivationForwardRows);
HWY_EXPORT(ActivationBackwardRows);
HWY_EXPORT(SoftplusRows);
HWY_EXPORT(SoftplusBackwardRows);
HWY_EXPORT(AccumulateRows);

}  // namespace

void activation_forward(Context& ctx, const ActivationForward& args) {
  require_f32(args.x, "activation_forward: the CPU backend computes in f32 only");
  parallel_for(ctx, args.x.rows(), rows_a_block(args.x.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ActivationForwardRows)(args, begin, end);
  });
}

void activation_backward(Context& ctx, const ActivationBackward& args) {
  require_f32(args.x, "activation_backward: the CPU backend computes in f32 only");
  parallel_for(ctx, args.x.rows(), rows_a_block(args.x.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ActivationBackwardRows)(args, begin, end);
  });
}

void softplus_forward(Context& ctx, const SoftplusForward& args) {
  require_f32(args.x, "softplus_forward: the CPU backend computes in f32 only");
  parallel_for(ctx, args.x.rows(), rows_a_block(args.x.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SoftplusRows)(args, begin, end);
  });
}

void softplus_backward(Context& ctx, const SoftplusBackward& args) {
  require_f32(args.y, "softplus_backward: the CPU backend computes in f32 only");
  parallel_for(ctx, args.y.rows(), rows_a_block(args.y.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SoftplusBackwardRows)(args, begin, end);
  });
}

void accumulate(Context& ctx, const Accumulate& args) {
  require_f32(args.x, "accumulate: the CPU backend computes in f32 only");
  parallel_for(ctx, args.x.rows(), rows_a_block(args.x.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(AccumulateRows)(args, begin, end);
  });
}

}  // namespace natrix::cpu
#endif
