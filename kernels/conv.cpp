#include "kernels/conv.h"

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

struct ConvShapes {
  Dtype io, dtype;   // of x and y; of weights, states and sums
  Shape activation;  // [B, T, I]
  Shape tail;        // [B, K−1, I]
  Shape weight;      // [I, K]

  ConvShapes(View x, View weight_view)
      : io(x.dtype), dtype(wide(x.dtype)), activation(x.shape), weight(weight_view.shape) {
    require(dtype == Dtype::kF32 || dtype == Dtype::kF64, "conv_silu: x must be bf16, f32 or f64");
    require(activation.rank() == 3 && weight.rank() == 2 && weight[0] == activation[2] && weight[1] >= 1,
            "conv_silu: x must be [B, T, I] and weight [I, K]");
    require(x.count() > 0, "conv_silu: a segment has at least one token");
    tail = {activation[0], weight[1] - 1, activation[2]};
    check_dense(weight_view, dtype, weight, "conv_silu: weight");
  }

  void bias(View v, std::string_view what) const {
    if (v) check_dense(v, dtype, {activation[2]}, what);
  }
  void doc_start(View v) const {
    check_optional(v, Dtype::kU8, {activation[0], activation[1]}, "conv_silu: doc_start");
  }
};

void check(const ConvSiluForward& a) {
  const ConvShapes s(a.x, a.weight);
  s.bias(a.bias, "conv_silu_forward: bias");
  check_optional(a.tail_in, s.dtype, s.tail, "conv_silu_forward: tail_in");
  s.doc_start(a.doc_start);
  check_view(a.y, s.io, s.activation, "conv_silu_forward: y");
  check_optional(a.tail_out, s.dtype, s.tail, "conv_silu_forward: tail_out");
}

void check(const ConvSiluBackward& a) {
  const ConvShapes s(a.x, a.weight);
  s.bias(a.bias, "conv_silu_backward: bias");
  check_optional(a.tail_in, s.dtype, s.tail, "conv_silu_backward: tail_in");
  s.doc_start(a.doc_start);
  check_view(a.dy, s.io, s.activation, "conv_silu_backward: dy");
  check_optional(a.dtail_out, s.dtype, s.tail, "conv_silu_backward: dtail_out");
  check_view(a.dx, s.io, s.activation, "conv_silu_backward: dx");
  check_dense(a.dweight, s.dtype, s.weight, "conv_silu_backward: dweight");
  s.bias(a.dbias, "conv_silu_backward: dbias");
  check_optional(a.dtail_in, s.dtype, s.tail, "conv_silu_backward: dtail_in");
}

void check(const MaskConvTail& a) {
  require(
      a.tail.shape.rank() == 3 && a.doc_start.shape.rank() == 2 && a.tail.extent(0) == a.doc_start.extent(0),
      "mask_conv_tail: tail must be [B, K-1, I] and doc_start [B, T]");
  check_view(a.doc_start, Dtype::kU8, a.doc_start.shape, "mask_conv_tail: doc_start");
}

}  // namespace

Cost cost(const ConvSiluForward& a) {
  return {.exps = static_cast<double>(a.x.count()), .bytes = bytes_of({a.x, a.y, a.tail_in, a.tail_out})};
}

Cost cost(const ConvSiluBackward& a) {
  return {.exps = static_cast<double>(a.x.count()),
          .bytes = bytes_of({a.x, a.dy, a.dx, a.tail_in, a.dtail_in})};
}

Cost cost(const MaskConvTail& a) {
  return {.bytes = bytes_of({a.tail, a.tail})};
}

void conv_silu_forward(Context& ctx, const ConvSiluForward& args) {
  check(args);
  dispatch<ConvSiluForward>(ctx, "conv_silu_forward", args,
                            {.reference = reference::conv_silu_forward,
                             .cpu = cpu::conv_silu_forward,
                             .cuda = if_cuda<cuda::conv_silu_forward>()});
}

void conv_silu_backward(Context& ctx, const ConvSiluBackward& args) {
  check(args);
  dispatch<ConvSiluBackward>(ctx, "conv_silu_backward", args,
                             {.reference = reference::conv_silu_backward,
                              .cpu = cpu::conv_silu_backward,
                              .cuda = if_cuda<cuda::conv_silu_backward>()});
}

void mask_conv_tail(Context& ctx, const MaskConvTail& args) {
  check(args);
  // Only K−1 rows a sequence: the reference version is fast enough.
  dispatch<MaskConvTail>(ctx, "mask_conv_tail", args,
                         {.reference = reference::mask_conv_tail,
                          .cpu = reference::mask_conv_tail,
                          .cuda = if_cuda<cuda::mask_conv_tail>()});
}

}  // namespace natrix
