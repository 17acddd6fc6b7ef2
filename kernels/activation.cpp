#include "kernels/activation.h"

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

/// Checks that an operand has the dtype, rows and columns of the first operand, x.
struct Like {
  View x;
  void operator()(View v, std::string_view what) const { check_matrix(v, x.dtype, x.rows(), x.cols(), what); }
};

void check(const ActivationForward& a) {
  const Like like{a.x};
  like(a.x, "activation_forward: x");
  if (a.up) like(a.up, "activation_forward: up");
  like(a.out, "activation_forward: out");
}

void check(const ActivationBackward& a) {
  const Like like{a.x};
  like(a.x, "activation_backward: x");
  like(a.dout, "activation_backward: dout");
  like(a.dx, "activation_backward: dx");
  require(static_cast<bool>(a.up) == static_cast<bool>(a.dup),
          "activation_backward: up and dup come together");
  if (a.up) like(a.up, "activation_backward: up");
  if (a.dup) like(a.dup, "activation_backward: dup");
}

}  // namespace

Cost cost(const ActivationForward& a) {
  return {.exps = static_cast<double>(a.x.count()), .bytes = bytes_of({a.x, a.up, a.out})};
}

Cost cost(const ActivationBackward& a) {
  return {.exps = static_cast<double>(a.x.count()), .bytes = bytes_of({a.x, a.up, a.dout, a.dx, a.dup})};
}

Cost cost(const SoftplusForward& a) {
  return {.exps = static_cast<double>(a.x.count()), .bytes = bytes_of({a.x, a.y})};
}

Cost cost(const SoftplusBackward& a) {
  return {.exps = static_cast<double>(a.y.count()), .bytes = bytes_of({a.y, a.dy, a.dx})};
}

Cost cost(const Accumulate& a) {
  return {.bytes = bytes_of({a.x, a.y, a.y})};
}

Cost cost(const Cast& a) {
  return {.bytes = bytes_of({a.from, a.to})};
}

void activation_forward(Context& ctx, const ActivationForward& args) {
  check(args);
  dispatch<ActivationForward>(ctx, "activation_forward", args,
                              {.reference = reference::activation_forward,
                               .cpu = cpu::activation_forward,
                               .cuda = if_cuda<cuda::activation_forward>()});
}

void activation_backward(Context& ctx, const ActivationBackward& args) {
  check(args);
  dispatch<ActivationBackward>(ctx, "activation_backward", args,
                               {.reference = reference::activation_backward,
                                .cpu = cpu::activation_backward,
                                .cuda = if_cuda<cuda::activation_backward>()});
}

void softplus_forward(Context& ctx, const SoftplusForward& args) {
  const Like like{args.x};
  like(args.x, "softplus_forward: x");
  like(args.y, "softplus_forward: y");
  if (args.bias) check_dense(args.bias, args.x.dtype, {args.x.cols()}, "softplus_forward: bias");
  dispatch<SoftplusForward>(ctx, "softplus_forward", args,
                            {.reference = reference::softplus_forward,
                             .cpu = cpu::softplus_forward,
                             .cuda = if_cuda<cuda::softplus_forward>()});
}

void softplus_backward(Context& ctx, const SoftplusBackward& args) {
  const Like like{args.y};
  like(args.y, "softplus_backward: y");
  like(args.dy, "softplus_backward: dy");
  check_matrix(args.dx, at_most(args.y.dtype, args.dx), args.y.rows(), args.y.cols(),
               "softplus_backward: dx");
  dispatch<SoftplusBackward>(ctx, "softplus_backward", args,
                             {.reference = reference::softplus_backward,
                              .cpu = cpu::softplus_backward,
                              .cuda = if_cuda<cuda::softplus_backward>()});
}

void accumulate(Context& ctx, const Accumulate& args) {
  const Dtype x = args.x.dtype == wide(args.y.dtype) ? args.x.dtype : args.y.dtype;
  check_matrix(args.x, x, args.y.rows(), args.y.cols(), "accumulate: x");
  check_matrix(args.y, args.y.dtype, args.y.rows(), args.y.cols(), "accumulate: y");
  dispatch<Accumulate>(
      ctx, "accumulate", args,
      {.reference = reference::accumulate, .cpu = cpu::accumulate, .cuda = if_cuda<cuda::accumulate>()});
}

void cast(Context& ctx, const Cast& args) {
  check_matrix(args.from, args.from.dtype, args.to.rows(), args.to.cols(), "cast: from");
  require(wide(args.from.dtype) == wide(args.to.dtype), "cast: between bf16 and f32");
  dispatch<Cast>(ctx, "cast", args,
                 {.reference = reference::cast, .cpu = reference::cast, .cuda = if_cuda<cuda::cast>()});
}

}  // namespace natrix
