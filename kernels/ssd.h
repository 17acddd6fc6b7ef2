// The Mamba-2 recurrence (SSD, arXiv 2405.21060): each head has a matrix as its state and one decay a token.
//
//   Δ_t = clamp(softplus(dt_t + dt_bias), dt_min, dt_max)            softplus is the identity above 20
//   S_t = exp(Δ_t A) S_{t−1} + Δ_t x_t B_tᵀ                          A = −exp(A_log)
//   y_t = S_t C_t + D x_t
//
// Shapes: B batch, T tokens, H heads, P channels of a head, G groups, N d_state. x, y and their gradients are
// [B, T, H·P], dt and ddt [B, T, H], B and C [B, T, G·N]; all of these may have strided rows, as they are
// columns of one projection. Head h reads B and C of group h / (H/G). A_log, dt_bias and D are [H]; without D
// there is no skip connection, without dt_bias nothing is added. States are [B, H, P, N] and contiguous.
//
// dt is what the projection gives. Softplus and the limits belong to the kernel, so ddt is the gradient of
// that raw dt. It is zero where a limit replaces Δ.
//
// Dtypes: all operands share one: f32 on every backend, f64 on the reference only.
//
// doc_start [B, T] u8, or empty: a 1 marks the first token of a document; S_{t−1} counts as zero there.
//
// A span of tokens acts on the state as state_out = decay · state_in + state, with one decay a head.
// No buffer of [T, P, N] or [T, T] elements exists anywhere.
#pragma once

#include <limits>

#include "kernels/base/context.h"

namespace natrix {

/// Shape of the states that forward saves for backward, for x [B, T, H·P]: the state before each tile of
/// tokens, f32, in a layout private to the backend. It has no elements where the backend recomputes them.
Shape ssd_tile_states_shape(Backend backend, const Shape& x, int64_t heads, int64_t d_state);

struct SsdForward {
  View x, dt, dt_bias, A_log, B, C, D;  // dt_bias and D are optional
  int64_t groups = 1;
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();
  View doc_start;    // optional
  View state_in;     // optional: zero when empty
  View y;            // out
  View state_out;    // out, optional; may alias state_in
  View tile_states;  // out, optional: saved for backward
};
void ssd_forward(Context& ctx, const SsdForward& args);
Cost cost(const SsdForward& args);
int64_t scratch(Backend backend, const SsdForward& args);

/// With R_t = ∂L/∂S_t, from the last token to the first, starting from dstate_out:
///   R_t = dy_t C_tᵀ + exp(Δ_{t+1} A) R_{t+1}
struct SsdBackward {
  View x, dt, dt_bias, A_log, B, C, D;
  int64_t groups = 1;
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();
  View doc_start, state_in;  // as in forward; state_in is the first of tile_states
  View tile_states;          // from forward; optional where they have no elements
  View dy;
  View dstate_out;            // optional: gradient from the next segment; zero when empty
  View dx, ddt, dB, dC;       // out (=)
  View ddt_bias, dA_log, dD;  // out (+=); ddt_bias comes with dt_bias, dD with D
  View dstate_in;             // out (=), optional: for the previous segment; may alias dstate_out
};
void ssd_backward(Context& ctx, const SsdBackward& args);
Cost cost(const SsdBackward& args);
int64_t scratch(Backend backend, const SsdBackward& args);

/// The segment as a map of its state, without its outputs: state_out = decay · state_in + state.
/// decay = exp(A Σ Δ), or 0 where a document starts inside the segment. state = the state reached from zero.
struct SsdSummary {
  View x, dt, dt_bias, A_log, B;
  int64_t groups = 1;
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();
  View doc_start;
  View decay;  // out (=), [B, H]
  View state;  // out (=), [B, H, P, N]
};
void ssd_summary(Context& ctx, const SsdSummary& args);
Cost cost(const SsdSummary& args);

/// The same map backwards in time: dstate_in = decay · dstate_out + state. decay equals that of SsdSummary.
struct SsdSummaryBackward {
  View dt, dt_bias, A_log, C;
  int64_t groups = 1;
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();
  View doc_start, dy;
  View decay, state;  // out (=)
};
void ssd_summary_backward(Context& ctx, const SsdSummaryBackward& args);
Cost cost(const SsdSummaryBackward& args);

namespace reference {
void ssd_forward(Context& ctx, const SsdForward& args);
void ssd_backward(Context& ctx, const SsdBackward& args);
void ssd_summary(Context& ctx, const SsdSummary& args);
void ssd_summary_backward(Context& ctx, const SsdSummaryBackward& args);
}  // namespace reference
namespace cpu {
Shape ssd_tile_states_shape(const Shape& x, int64_t heads, int64_t d_state);
void ssd_forward(Context& ctx, const SsdForward& args);
void ssd_backward(Context& ctx, const SsdBackward& args);
void ssd_summary(Context& ctx, const SsdSummary& args);
void ssd_summary_backward(Context& ctx, const SsdSummaryBackward& args);
}  // namespace cpu
namespace cuda {
void ssd_forward(Context& ctx, const SsdForward& args);
void ssd_backward(Context& ctx, const SsdBackward& args);
void ssd_summary(Context& ctx, const SsdSummary& args);
void ssd_summary_backward(Context& ctx, const SsdSummaryBackward& args);
}  // namespace cuda

}  // namespace natrix
