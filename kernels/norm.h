// RMS normalisation fused with the residual add (arXiv 1910.07467).
//
//   s = x + residual
//   y = s ⊙ weight · inv_rms        inv_rms = (mean(s²) + eps)^(−1/2), one per row
//
// Dtypes: sums, weights and statistics share one dtype. Where that is f32, residual and y may be
// bf16, and in backward dy and dx.
//
// Rows are normalised over their D columns. Every operand but weight may have strided rows.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

struct RmsNormForward {
  View x;         // [R.., D]
  View residual;  // optional, like x
  View sum;  // out, optional, like x: x + residual; may alias x or residual. Required if residual is given.
  View weight;   // [D]; optional (weightless)
  View y;        // out, like x; may alias x when there is no residual
  View inv_rms;  // out, optional, [R..] in the dtype of x
  double eps = 1e-6;
};
void rms_norm_forward(Context& ctx, const RmsNormForward& args);
Cost cost(const RmsNormForward& args);

///   ds = dsum + inv_rms · (dy ⊙ weight − ŝ · mean(dy ⊙ weight ⊙ ŝ)),  ŝ = s · inv_rms
struct RmsNormBackward {
  View sum;      // s of the forward pass
  View weight;   // optional
  View inv_rms;  // [R..]
  View dy;
  View dsum;     // optional: the gradient that reaches s through the residual path
  View dx;       // out (=): the gradient of s, which is also that of x and of residual; may alias dsum or dy
  View rounded;  // out, optional: an f32 dx rounded to bf16, for a bf16 sublayer (backend cuda)
  View dweight;  // out (+=), optional
};
void rms_norm_backward(Context& ctx, const RmsNormBackward& args);
Cost cost(const RmsNormBackward& args);

namespace reference {
void rms_norm_forward(Context& ctx, const RmsNormForward& args);
void rms_norm_backward(Context& ctx, const RmsNormBackward& args);
}  // namespace reference
namespace cpu {
void rms_norm_forward(Context& ctx, const RmsNormForward& args);
void rms_norm_backward(Context& ctx, const RmsNormBackward& args);
}  // namespace cpu
namespace cuda {
void rms_norm_forward(Context& ctx, const RmsNormForward& args);
void rms_norm_backward(Context& ctx, const RmsNormBackward& args);
}  // namespace cuda

}  // namespace natrix
