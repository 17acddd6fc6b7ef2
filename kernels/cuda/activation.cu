// Element-wise functions: each operand is read once, each result written once; memory's speed is the floor.
#include "kernels/activation.h"
#include "kernels/cuda/launch.h"

namespace natrix::cuda {

void activation_forward(Context& ctx, const ActivationForward& a) {
  const Rows<float> x(a.x), up(a.up), out(a.out);
  const Activation f = a.f;
  for_cells(ctx, a.x.rows(), a.x.cols(), [=] __device__(int64_t r, int64_t c) {
    const float y = activation_value(f, x[r][c]);
    out[r][c] = up ? y * up[r][c] : y;
  });
}

void activation_backward(Context& ctx, const ActivationBackward& a) {
  const Rows<float> x(a.x), up(a.up), dout(a.dout), dx(a.dx), dup(a.dup);
  const Activation f = a.f;
  for_cells(ctx, a.x.rows(), a.x.cols(), [=] __device__(int64_t r, int64_t c) {
    const float x_rc = x[r][c], dout_rc = dout[r][c],
                up_rc = up ? up[r][c] : 1.0f;  // dx and dup may alias them
    dx[r][c] = dout_rc * up_rc * activation_derivative(f, x_rc);
    if (dup) dup[r][c] = dout_rc * activation_value(f, x_rc);
  });
}

void softplus_forward(Context& ctx, const SoftplusForward& a) {
  const Rows<float> x(a.x), bias(a.bias), y(a.y);
  for_cells(ctx, a.x.rows(), a.x.cols(), [=] __device__(int64_t r, int64_t c) {
    y[r][c] = softplus(x[r][c] + (bias ? bias[0][c] : 0.0f));
  });
}

void softplus_backward(Context& ctx, const SoftplusBackward& a) {
  const Rows<float> y(a.y), dy(a.dy), dx(a.dx);
  for_cells(ctx, a.y.rows(), a.y.cols(),
            [=] __device__(int64_t r, int64_t c) { dx[r][c] = dy[r][c] * softplus_derivative(y[r][c]); });
}

void accumulate(Context& ctx, const Accumulate& a) {
  const Rows<float> x(a.x), y(a.y);
  for_cells(ctx, a.x.rows(), a.x.cols(), [=] __device__(int64_t r, int64_t c) { y[r][c] += x[r][c]; });
}

}  // namespace natrix::cuda
