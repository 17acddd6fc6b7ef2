// Element-wise functions. Each operand is read once and each result written once, so memory
// bandwidth is the limit.
#include "kernels/activation.h"
#include "kernels/cuda/quads.h"

namespace natrix::cuda {
namespace {

template <class T>
void forward(Context& ctx, const ActivationForward& a) {
  const Rows<T> x(a.x), up(a.up), out(a.out);
  const Activation f = a.f;
  for_quads(ctx, a.x.rows(), a.x.cols(), {a.x, a.up, a.out}, [=] __device__(int64_t r, auto c) {
    const Quad x_rc = c.load(x[r]), up_rc = up ? c.load(up[r]) : all(1);
    c.store(out[r], each([&](int k) { return activation_value(f, x_rc[k]) * up_rc[k]; }));
  });
}

template <class T>
void backward(Context& ctx, const ActivationBackward& a) {
  const Rows<T> x(a.x), up(a.up), dout(a.dout), dx(a.dx), dup(a.dup);
  const Activation f = a.f;
  for_quads(ctx, a.x.rows(), a.x.cols(), {a.x, a.up, a.dout, a.dx, a.dup}, [=] __device__(int64_t r, auto c) {
    const Quad x_rc = c.load(x[r]), dout_rc = c.load(dout[r]);
    const Quad up_rc = up ? c.load(up[r]) : all(1);  // read first: dx and dup may alias the operands
    c.store(dx[r], each([&](int k) { return dout_rc[k] * up_rc[k] * activation_derivative(f, x_rc[k]); }));
    if (dup) c.store(dup[r], each([&](int k) { return dout_rc[k] * activation_value(f, x_rc[k]); }));
  });
}

template <class T>
void softplus_gradient(Context& ctx, const SoftplusBackward& a) {
  const Rows<float> y(a.y), dy(a.dy);
  const Rows<T> dx(a.dx);
  for_quads(ctx, a.y.rows(), a.y.cols(), {a.y, a.dy, a.dx}, [=] __device__(int64_t r, auto c) {
    const Quad y_rc = c.load(y[r]), dy_rc = c.load(dy[r]);
    c.store(dx[r], each([&](int k) { return dy_rc[k] * softplus_derivative(y_rc[k]); }));
  });
}

template <class From, class To>
void add(Context& ctx, const Accumulate& a) {
  const Rows<From> x(a.x);
  const Rows<To> y(a.y);
  for_quads(ctx, a.x.rows(), a.x.cols(), {a.x, a.y}, [=] __device__(int64_t r, auto c) {
    Quad sum = c.load(y[r]);
    sum += c.load(x[r]);
    c.store(y[r], sum);
  });
}

template <class From, class To>
void store_as(Context& ctx, const Cast& a) {
  const Rows<From> from(a.from);
  const Rows<To> to(a.to);
  for_quads(ctx, a.from.rows(), a.from.cols(), {a.from, a.to},
            [=] __device__(int64_t r, auto c) { c.store(to[r], c.load(from[r])); });
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
  for_quads(ctx, a.x.rows(), a.x.cols(), {a.x, a.bias, a.y}, [=] __device__(int64_t r, auto c) {
    const Quad x_rc = c.load(x[r]), bias_c = bias ? c.load(bias[0]) : all(0);
    c.store(y[r], each([&](int k) { return softplus(x_rc[k] + bias_c[k]); }));
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
