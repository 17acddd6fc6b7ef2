// Element-wise functions between the matrix products. All operands may have strided rows; their shapes agree.
//
//   activation   out = f(x)            or, gated,   out = f(x) ⊙ up
//   softplus     y = log(1 + exp(x + bias)), the identity above 20
//
// SwiGLU is the gated form with SiLU; Mamba's output gate y ⊙ silu(z) is the same with x = z and up = y.
//
// Dtypes: all operands of the activation share one dtype. softplus is f32 (or
// f64); its gradient dx may be bf16.
#pragma once

#include "kernels/base/context.h"
#include "kernels/base/functions.h"

namespace natrix {

enum class Activation { kSilu, kGelu, kRelu2 };  // gelu: the erf form; relu2: max(x, 0)²

/// f and its derivative at one element.
template <class T>
NATRIX_HOST_DEVICE T activation_value(Activation f, T x) {
  if (f == Activation::kSilu) return x * sigmoid(x);
  if (f == Activation::kGelu) return x * normal_cdf(x);
  return x < T{0} ? T{0} : x * x;  // NaN stays NaN
}
template <class T>
NATRIX_HOST_DEVICE T activation_derivative(Activation f, T x) {
  if (f == Activation::kSilu) return silu_derivative(x);
  if (f == Activation::kGelu) return normal_cdf(x) + x * normal_density(x);
  return x < T{0} ? T{0} : T{2} * x;
}

struct ActivationForward {
  Activation f = Activation::kSilu;
  View x;
  View up;   // optional
  View out;  // may alias x or up
};
void activation_forward(Context& ctx, const ActivationForward& args);
Cost cost(const ActivationForward& args);

struct ActivationBackward {
  Activation f = Activation::kSilu;
  View x, up;  // as in forward
  View dout;
  View dx;   // out (=); may alias x or dout
  View dup;  // out (=) when up is given; may alias up
};
void activation_backward(Context& ctx, const ActivationBackward& args);
Cost cost(const ActivationBackward& args);

struct SoftplusForward {
  View x;     // [R.., I]
  View bias;  // [I], optional
  View y;     // out; may alias x
};
void softplus_forward(Context& ctx, const SoftplusForward& args);
Cost cost(const SoftplusForward& args);

/// softplus'(x) = σ(x) = 1 − exp(−y), so backward needs only the output y.
struct SoftplusBackward {
  View y, dy;
  View dx;  // out (=); may alias dy if it has its dtype
};
void softplus_backward(Context& ctx, const SoftplusBackward& args);
Cost cost(const SoftplusBackward& args);

/// y += x. x has the dtype of y; where y is bf16, x may also be f32.
struct Accumulate {
  View x, y;
};
void accumulate(Context& ctx, const Accumulate& args);
Cost cost(const Accumulate& args);

/// to = from, converted: f32 to bf16 (round to nearest), bf16 to f32, or a copy where the dtypes are equal.
struct Cast {
  View from, to;
};
void cast(Context& ctx, const Cast& args);
Cost cost(const Cast& args);

namespace reference {
void activation_forward(Context& ctx, const ActivationForward& args);
void activation_backward(Context& ctx, const ActivationBackward& args);
void softplus_forward(Context& ctx, const SoftplusForward& args);
void softplus_backward(Context& ctx, const SoftplusBackward& args);
void accumulate(Context& ctx, const Accumulate& args);
void cast(Context& ctx, const Cast& args);
}  // namespace reference
namespace cpu {
void activation_forward(Context& ctx, const ActivationForward& args);
void activation_backward(Context& ctx, const ActivationBackward& args);
void softplus_forward(Context& ctx, const SoftplusForward& args);
void softplus_backward(Context& ctx, const SoftplusBackward& args);
void accumulate(Context& ctx, const Accumulate& args);
}  // namespace cpu
namespace cuda {
void activation_forward(Context& ctx, const ActivationForward& args);
void activation_backward(Context& ctx, const ActivationBackward& args);
void softplus_forward(Context& ctx, const SoftplusForward& args);
void softplus_backward(Context& ctx, const SoftplusBackward& args);
void accumulate(Context& ctx, const Accumulate& args);
void cast(Context& ctx, const Cast& args);
}  // namespace cuda

}  // namespace natrix
