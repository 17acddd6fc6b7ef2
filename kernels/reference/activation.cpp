// Element-wise functions and their derivatives, one element at a time, in double: docs/math/activation.md.
// All operands of an element are read before its results are written, so operands and results may alias.
#include "kernels/activation.h"

namespace natrix::reference {
namespace {

template <class T>
void forward(const ActivationForward& a) {
  for (int64_t r = 0; r < a.x.rows(); ++r) {
    for (int64_t c = 0; c < a.x.cols(); ++c) {
      const double up = a.up ? static_cast<double>(a.up.row<T>(r)[c]) : 1.0;
      a.out.row<T>(r)[c] = static_cast<T>(activation_value(a.f, static_cast<double>(a.x.row<T>(r)[c])) * up);
    }
  }
}

template <class T>
void backward(const ActivationBackward& a) {
  for (int64_t r = 0; r < a.x.rows(); ++r) {
    for (int64_t c = 0; c < a.x.cols(); ++c) {
      const auto x = static_cast<double>(a.x.row<T>(r)[c]);
      const auto dout = static_cast<double>(a.dout.row<T>(r)[c]);
      const double up = a.up ? static_cast<double>(a.up.row<T>(r)[c]) : 1.0;
      a.dx.row<T>(r)[c] = static_cast<T>(dout * up * activation_derivative(a.f, x));
      if (a.dup) a.dup.row<T>(r)[c] = static_cast<T>(dout * activation_value(a.f, x));
    }
  }
}

template <class T>
void softplus_values(const SoftplusForward& a) {
  for (int64_t r = 0; r < a.x.rows(); ++r) {
    for (int64_t c = 0; c < a.x.cols(); ++c) {
      auto x = static_cast<double>(a.x.row<T>(r)[c]);
      if (a.bias) x += static_cast<double>(a.bias.as<T>()[c]);
      a.y.row<T>(r)[c] = static_cast<T>(softplus(x));
    }
  }
}

template <class T>
void softplus_gradient(const SoftplusBackward& a) {
  for (int64_t r = 0; r < a.y.rows(); ++r) {
    for (int64_t c = 0; c < a.y.cols(); ++c) {
      const double slope = softplus_derivative(static_cast<double>(a.y.row<T>(r)[c]));
      a.dx.row<T>(r)[c] = static_cast<T>(static_cast<double>(a.dy.row<T>(r)[c]) * slope);
    }
  }
}

template <class T>
void add_to(const Accumulate& a) {
  for (int64_t r = 0; r < a.x.rows(); ++r) {
    for (int64_t c = 0; c < a.x.cols(); ++c) a.y.row<T>(r)[c] += a.x.row<T>(r)[c];
  }
}

}  // namespace

void activation_forward(Context&, const ActivationForward& args) {
  for_float(args.x.dtype, [&](auto zero) { forward<decltype(zero)>(args); });
}

void activation_backward(Context&, const ActivationBackward& args) {
  for_float(args.x.dtype, [&](auto zero) { backward<decltype(zero)>(args); });
}

void softplus_forward(Context&, const SoftplusForward& args) {
  for_float(args.x.dtype, [&](auto zero) { softplus_values<decltype(zero)>(args); });
}

void softplus_backward(Context&, const SoftplusBackward& args) {
  for_float(args.y.dtype, [&](auto zero) { softplus_gradient<decltype(zero)>(args); });
}

void accumulate(Context&, const Accumulate& args) {
  for_float(args.x.dtype, [&](auto zero) { add_to<decltype(zero)>(args); });
}

void cast(Context&, const Cast& a) {
  convert(a.from, a.to);
}

}  // namespace natrix::reference
