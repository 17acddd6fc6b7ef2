// The Mamba-2 mixer (arXiv 2405.21060): heads with one decay per token, and a gated norm.
//
//   [z; u; dt] = W_in x                              u holds x, B and C
//   [x; B; C]  = silu(causal_conv1d(u) + b)
//   y          = ssd(x, Δ, A, B, C, D)               Δ = clamp(softplus(dt + dt_bias)); kernels/ssd.h
//   out        = W_out norm(y, z)                    kernels/gated_norm.h
//
// The same forward trains, prefills and decodes. It carries the convolution's tail [B, K−1, d_inner + 2GN] and
// the state [B, H, P, N].
#pragma once

#include "configs/schema/model.h"
#include "core/layers/linear.h"
#include "core/layers/short_conv.h"
#include "kernels/gated_norm.h"

namespace natrix {

class Mamba2 final : public Layer {
 public:
  /// layer: index in the stack. first_part: CarryKey::part of its first carry, if other mixers share the
  /// sublayer. prefix: start of its tensors' names.
  Mamba2(const ModelConfig& config, int layer, int first_part, const std::string& prefix);

  View forward(Pass& pass, View x) const override;
  bool leaves_behind(Visit) const override { return true; }
  void pass_over(Pass& pass, View x) const override { mix(pass, x); }
  View backward(Pass& pass, View dout) override;
  void visit(const ParamVisitor& visitor) override;
  std::vector<CarrySpec> carries() const override;

 private:
  enum Part : int { kConvTail, kSsmState };  // the carried states, in the order of carries()
  struct Saved {
    View x, projected, tail, c, state, tile_states, y;
  };
  struct Columns {  // of W_in x, or of its gradient
    View z, u, dt;
  };
  struct Inputs {  // of the recurrence, or their gradients: columns of the convolution's output
    View x, B, C;
  };
  struct Mixed {
    View y, z;
  };
  /// forward() without the gated norm and the output projection.
  Mixed mix(Pass& pass, View x) const;
  View gate(Pass& pass, View y, View z, View inv_rms) const;
  Columns columns_of(View projected) const;
  /// Multiplies the parts of in_proj's output, or of its gradient, by their factors.
  void scale_parts(Pass& pass, View projected) const;
  Inputs inputs_of(View c) const;
  CarryKey key(Part part) const { return {layer_, first_part_ + part}; }
  Shape state_shape(const Segment& s) const { return {s.batch, heads_, head_dim_, d_state_}; }
  View inv_rms(Pass& pass, View y) const;

  int layer_, first_part_;
  int64_t heads_, head_dim_, d_state_, groups_, d_inner_, mixed_;  // mixed_: channels of the convolution
  double dt_min_, dt_max_, norm_eps_;
  GatedNorm order_;
  double z_factor_, x_factor_, B_factor_, C_factor_, dt_factor_;  // of the parts of in_proj's output
  Linear in_proj_, out_proj_;
  ShortConv conv_;
  Param A_log_, D_, dt_bias_, norm_;
};

}  // namespace natrix
