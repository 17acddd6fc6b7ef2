// Element-wise functions: each operand is read once, each result written once; memory's speed is the floor.
#include "kernels/activation.h"
#include "kernels/cuda/launch.h"

namespace natrix::cuda {
namespace {

template <class T>
void forward(Context& ctx, const ActivationForward& a) {
  const Rows<T> x(a.x), up(a.up), out(a.out);
  const Activation f = a.f;
  for_cells(ctx, a.x.rows(), a.x.cols(), [=] __device__(int64_t r, int64_t c) {
    const float y = activation_value(f, static_cast<float>(x[r][c]));
    out[r][c] = static_cast<T>(up ? y * static_cast<float>(up[r][c]) : y);
  });
}

template <class T>
void backward(Context& ctx, const ActivationBackward& a) {
  const Rows<T> x(a.x), up(a.up), dout(a.dout), dx(a.dx), dup(a.dup);
  const Activation f = a.f;
  for_cells(ctx, a.x.rows(), a.x.cols(), [=] __device__(int64_t r, int64_t c) {
    const auto x_rc = static_cast<float>(x[r][c]), dout_rc = static_cast<float>(dout[r][c]);
    const float up_rc = up ? static_cast<float>(up[r][c]) : 1.0f;  // dx and dup may alias them
    dx[r][c] = static_cast<T>(dout_rc * up_rc * activation_derivative(f, x_rc));
    if (dup) dup[r][c] = static_cast<T>(dout_rc * activation_value(f, x_rc));
  });
}

template <class T>
void softplus_gradient(Context& ctx, const SoftplusBackward& a) {
  const Rows<float> y(a.y), dy(a.dy);
  const Rows<T> dx(a.dx);
  for_cells(ctx, a.y.rows(), a.y.cols(), [=] __device__(int64_t r, int64_t c) {
    dx[r][c] = static_cast<T>(dy[r][c] * softplus_derivative(y[r][c]));
  });
}

template <class From, class To>
void add(Context& ctx, const Accumulate& a) {
  const Rows<From> x(a.x);
  const Rows<To> y(a.y);
  for_cells(ctx, a.x.rows(), a.x.cols(), [=] __device__(int64_t r, int64_t c) {
    y[r][c] = static_cast<To>(static_cast<float>(y[r][c]) + static_cast<float>(x[r][c]));
  });
}

template <class From, class To>
void store_as(Context& ctx, const Cast& a) {
  const Rows<From> from(a.from);
  const Rows<To> to(a.to);
  for_cells(ctx, a.from.rows(), a.from.cols(), [=] __device__(int64_t r, int64_t c) {
    to[r][c] = static_cast<To>(static_cast<float>(from[r][c]));
  });
}

}  // namespace

void activation_forward(Context& ctx, const ActivationForward& a) {
  for_io(a.x.dtype, [&](auto zero) { forward<decltype(zero)>(ctx, a); });
}

void activation_backward(Context& ctx, const ActivationBackward& a) {
  for_io(a.x.dtype, [&](auto zero) { backward<decltype(zero)>(ctx, a); });
}

void softplus_forward(Context& ctx, const SoftplusForward& a) {
  const Rows<float> x(a.x), bias(a.bias), y(a.y);
  for_cells(ctx, a.x.rows(), a.x.cols(), [=] __device__(int64_t r, int64_t c) {
    y[r][c] = softplus(x[r][c] + (bias ? bias[0][c] : 0.0f));
  });
}

void softplus_backward(Context& ctx, const SoftplusBackward& a) {
  for_io(a.dx.dtype, [&](auto zero) { softplus_gradient<decltype(zero)>(ctx, a); });
}

void accumulate(Context& ctx, const Accumulate& a) {
  for_io(a.x.dtype,
         [&](auto from) { for_io(a.y.dtype, [&](auto to) { add<decltype(from), decltype(to)>(ctx, a); }); });
}

void cast(Context& ctx, const Cast& a) {
  for_io(a.from.dtype, [&](auto from) {
    for_io(a.to.dtype, [&](auto to) { store_as<decltype(from), decltype(to)>(ctx, a); });
  });
}

}  // namespace natrix::cuda
