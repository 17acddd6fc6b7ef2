// The Mamba-1 mixer (arXiv 2312.00752, figure 3). Jamba's models add norms on dt, B and C (arXiv 2403.19887).
//
//   [u; z]    = W_in x
//   c         = silu(causal_conv1d(u) + b)
//   [dt, B, C] = W_x c                          then, optionally, an RMSNorm on each
//   Δ         = softplus(W_dt dt + b_dt)
//   y         = scan(c, Δ, A, B, C, D)
//   out       = W_out (y ⊙ silu(z))
//
// The same forward trains, prefills and decodes. It carries the convolution's tail [B, K−1, I] and the state
// [B, I, N].
#pragma once

#include "configs/schema/model.h"
#include "core/layers/linear.h"
#include "core/layers/short_conv.h"

namespace natrix {

class Mamba1 final : public Layer {
 public:
  /// layer: index in the stack. prefix: start of its tensors' names, "….mixer.".
  Mamba1(const ModelConfig& config, int layer, const std::string& prefix);

  View forward(Pass& pass, View x) const override;
  bool leaves_behind(Visit) const override { return true; }
  void pass_over(Pass& pass, View x) const override { mix(pass, x); }
  View backward(Pass& pass, View dy) override;
  void visit(const ParamVisitor& visitor) override;
  std::vector<CarrySpec> carries() const override;

 private:
  enum Part : int { kConvTail, kSsmState };  // the carried states, in the order of carries()
  struct Selection {                         // the scan's coefficients, which depend on the input
    View projected;                          // [B, T, R + 2N]: W_x c
    View dt_low, B, C;                       // after the inner norms, or columns of `projected`
    View inv_dt, inv_B, inv_C;               // inner norms: 1 / rms of each row
    View dt;                                 // Δ [B, T, I]
  };
  struct Saved {
    View x, uz, tail, c, h, tile_states, y;
    Selection sel;
  };
  struct Mixed {
    View y, z;
  };
  /// forward() without the gate and the output projection.
  Mixed mix(Pass& pass, View x) const;
  Selection select(Pass& pass, View c) const;
  /// Backward of select(): adds to dc, given the gradients of Δ (overwritten), B and C.
  void select_backward(Pass& pass, const Saved& s, View ddt, View dB, View dC, View dc);
  View gate(Pass& pass, View y, View z) const;
  Shape state_shape(const Segment& s) const { return {s.batch, d_inner_, d_state_}; }

  int layer_;
  int64_t d_inner_, d_state_, dt_rank_;
  bool inner_norms_, inner_norm_weights_;
  double inner_norm_eps_;
  Linear in_proj_, x_proj_, dt_proj_, out_proj_;
  ShortConv conv_;
  Param A_log_, D_, dt_norm_, B_norm_, C_norm_;
};

}  // namespace natrix
