// Causal depthwise convolution along time, then SiLU (the short convolution of Mamba).
//
//   c_t = bias + Σ_k weight[:, k] ⊙ x_{t − (K−1) + k}      tap K−1 multiplies the current token
//   y_t = silu(c_t)
//
// Shapes: B batch, T tokens, I channels, K taps. x and y are [B, T, I] (strided rows allowed), weight
// is [I, K], bias is [I]. The inputs x_{−1}, …, x_{−(K−1)} come from tail_in [B, K−1, I]: the last
// K−1 inputs before this segment, oldest first. tail_out is the tail for the next segment: the last
// K−1 rows of [tail_in; x].
//
// Dtypes: x, y and their gradients share one dtype. All other operands have the
// same dtype, or f32 where x is bf16.
//
// doc_start [B, T] u8, or empty: a tap that reaches back across the start of a document reads zero.
// tail_out holds the inputs unmasked; mask_conv_tail clears the rows that belong to an earlier
// document than the segment's last token.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

struct ConvSiluForward {
  View x, weight;
  View bias;       // optional
  View tail_in;    // optional: zero when empty
  View doc_start;  // optional
  View y;          // out
  View tail_out;   // out, optional; must not alias tail_in
};
void conv_silu_forward(Context& ctx, const ConvSiluForward& args);
Cost cost(const ConvSiluForward& args);

struct ConvSiluBackward {
  View x, weight, bias, tail_in, doc_start;  // as in forward
  View dy;
  View dtail_out;       // optional: gradient of tail_out, from the next segment
  View dx;              // out (=); may be strided
  View dweight, dbias;  // out (+=); dbias optional
  View dtail_in;        // out (=), optional; must not alias dtail_out
};
void conv_silu_backward(Context& ctx, const ConvSiluBackward& args);
Cost cost(const ConvSiluBackward& args);

/// Zeroes, in place, the rows of a tail [B, K−1, I] that lie before the last document start of the segment
/// that produced it (doc_start [B, T]). The operation is its own adjoint: backward applies it to dtail_out.
struct MaskConvTail {
  View tail, doc_start;
};
void mask_conv_tail(Context& ctx, const MaskConvTail& args);
Cost cost(const MaskConvTail& args);

namespace reference {
void conv_silu_forward(Context& ctx, const ConvSiluForward& args);
void conv_silu_backward(Context& ctx, const ConvSiluBackward& args);
void mask_conv_tail(Context& ctx, const MaskConvTail& args);
}  // namespace reference
namespace cpu {
void conv_silu_forward(Context& ctx, const ConvSiluForward& args);
void conv_silu_backward(Context& ctx, const ConvSiluBackward& args);
}  // namespace cpu
namespace cuda {
void conv_silu_forward(Context& ctx, const ConvSiluForward& args);
void conv_silu_backward(Context& ctx, const ConvSiluBackward& args);
void mask_conv_tail(Context& ctx, const MaskConvTail& args);
}  // namespace cuda

}  // namespace natrix
