// Selective scan (Mamba-1, arXiv 2312.00752): a diagonal linear recurrence with input-dependent coefficients.
//
//   h_t = exp(dt_t A) ⊙ h_{t−1} + (dt_t x_t) B_tᵀ        A = −exp(A_log)
//   y_t = h_t C_t + D ⊙ x_t
//
// Shapes: B batch, T tokens, I d_inner, N d_state. x, dt, y and their gradients are [B, T, I]; B and C are
// [B, T, N]; all of these may have strided rows. dt is the output of softplus. A_log is [I, N]. D is [I];
// without D there is no skip connection and no dD. States are [B, I, N] and contiguous.
//
// Dtypes: x, y, dx and dy share one dtype. All other operands have the same dtype, or f32 where x is bf16.
// f32 works on every backend, f64 on the reference backend only, bf16 on backend cuda only.
//
// doc_start [B, T] u8, or empty: a 1 marks the first token of a document; h_{t−1} counts as zero there.
//
// A span of tokens acts on the state as an affine map, state_out = decay ⊙ state_in + state.
// Segments and ranks pass on only this state, see core/carry/carry_link.h. No buffer of
// [T, I, N] elements exists anywhere.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

/// Shape of the states that forward saves for backward, for activations [B, T, I]: the state before
/// each tile of tokens, f32, in a layout private to the backend. It has no elements where the
/// backend recomputes these states.
Shape tile_states_shape(Backend backend, const Shape& activation, int64_t d_state);

struct ScanForward {
  View x, dt, A_log, B, C, D;
  View doc_start;    // optional
  View state_in;     // optional: zero when empty
  View y;            // out
  View state_out;    // out, optional; may alias state_in
  View tile_states;  // out, optional: saved for backward
};
void scan_forward(Context& ctx, const ScanForward& args);
Cost cost(const ScanForward& args);

/// With g_t = ∂L/∂h_t, computed from the last token to the first, starting from dstate_out:
///   g_t = dy_t C_tᵀ + exp(dt_{t+1} A) ⊙ g_{t+1}
struct ScanBackward {
  View x, dt, A_log, B, C, D, doc_start, state_in;  // as in forward; state_in is the first of tile_states
  View tile_states;                                 // from forward; optional where they have no elements
  View dy;
  View dstate_out;       // optional: gradient from the next segment; zero when empty
  View dx, ddt, dB, dC;  // out (=)
  View dA_log, dD;       // out (+=)
  View dstate_in;        // out (=), optional: for the previous segment; may alias dstate_out
};
void scan_backward(Context& ctx, const ScanBackward& args);
Cost cost(Backend backend, const ScanBackward& args);
/// Bytes of the scratch that the kernel of a backend takes, where that is more than backward has beside it.
int64_t scratch(Backend backend, const ScanBackward& args);

/// The segment as an affine map of its state, without its outputs: state_out = decay ⊙ state_in + state.
/// decay = exp(A Σ dt), or 0 where a document starts inside the segment. state = the state reached from zero.
struct ScanSummary {
  View x, dt, A_log, B, doc_start;
  View decay, state;  // out (=), [B, I, N]
};
void scan_summary(Context& ctx, const ScanSummary& args);
Cost cost(const ScanSummary& args);

/// The same map backwards in time: dstate_in = decay ⊙ dstate_out + state. decay equals that of ScanSummary.
struct ScanSummaryBackward {
  View dt, A_log, C, doc_start, dy;
  View decay, state;  // out (=), [B, I, N]
};
void scan_summary_backward(Context& ctx, const ScanSummaryBackward& args);
Cost cost(const ScanSummaryBackward& args);

namespace reference {
void scan_forward(Context& ctx, const ScanForward& args);
void scan_backward(Context& ctx, const ScanBackward& args);
void scan_summary(Context& ctx, const ScanSummary& args);
void scan_summary_backward(Context& ctx, const ScanSummaryBackward& args);
}  // namespace reference
namespace cpu {
Shape tile_states_shape(const Shape& activation, int64_t d_state);
void scan_forward(Context& ctx, const ScanForward& args);
void scan_backward(Context& ctx, const ScanBackward& args);
void scan_summary(Context& ctx, const ScanSummary& args);
void scan_summary_backward(Context& ctx, const ScanSummaryBackward& args);
}  // namespace cpu
namespace cuda {
void scan_forward(Context& ctx, const ScanForward& args);
void scan_backward(Context& ctx, const ScanBackward& args);
void scan_summary(Context& ctx, const ScanSummary& args);
void scan_summary_backward(Context& ctx, const ScanSummaryBackward& args);
}  // namespace cuda

}  // namespace natrix
