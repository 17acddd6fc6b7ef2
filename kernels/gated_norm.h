// The gate and RMS normalisation that end a Mamba-2 mixer. Mean squares are taken over each group of D/G
// channels by itself.
//
//   kGateThenNorm   y = RMSNorm(x ⊙ silu(z)) ⊙ weight          Mamba-2, Nemotron-H, Granite, Bamba
//   kNormThenGate   y = RMSNorm(x) ⊙ weight ⊙ silu(z)          Falcon-H1 with mamba_norm_before_gate
//   kGateOnly       y = x ⊙ silu(z)                            Falcon-H1 without mamba_rms_norm
//
// x, z, y and their gradients are [.., D] and may have strided rows; weight is [D]. All operands share one
// dtype: f32, on the reference backend also f64.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

enum class GatedNorm { kGateThenNorm, kNormThenGate, kGateOnly };

struct GatedNormForward {
  View x, z;
  View weight;  // not with kGateOnly
  GatedNorm order = GatedNorm::kGateThenNorm;
  int64_t groups = 1;
  View y;        // out; may alias x
  View inv_rms;  // out, optional: [rows, G], kept for backward; not with kGateOnly
  double eps = 1e-5;
};
void gated_norm_forward(Context& ctx, const GatedNormForward& args);
Cost cost(const GatedNormForward& args);

///   with s = x ⊙ silu(z) or x, and ŝ = s · inv_rms:   ds = inv_rms · (dŝ − ŝ · mean(dŝ ⊙ ŝ))
struct GatedNormBackward {
  View x, z;
  View weight;  // not with kGateOnly
  GatedNorm order = GatedNorm::kGateThenNorm;
  int64_t groups = 1;
  View inv_rms;  // from forward; not with kGateOnly
  View dy;
  View dx, dz;   // out (=); dx may alias dy
  View dweight;  // out (+=), optional
};
void gated_norm_backward(Context& ctx, const GatedNormBackward& args);
Cost cost(const GatedNormBackward& args);

namespace reference {
void gated_norm_forward(Context& ctx, const GatedNormForward& args);
void gated_norm_backward(Context& ctx, const GatedNormBackward& args);
}  // namespace reference
namespace cpu {
void gated_norm_forward(Context& ctx, const GatedNormForward& args);
void gated_norm_backward(Context& ctx, const GatedNormBackward& args);
}  // namespace cpu
namespace cuda {
void gated_norm_forward(Context& ctx, const GatedNormForward& args);
void gated_norm_backward(Context& ctx, const GatedNormBackward& args);
}  // namespace cuda

}  // namespace natrix
