#include "core/layers/mamba1.h"

#include "kernels/activation.h"
#include "kernels/norm.h"
#include "kernels/scan.h"

namespace natrix {

Mamba1::Mamba1(const ModelConfig& config, int layer, const std::string& prefix)
    : layer_(layer),
      d_inner_(config.d_inner()),
      d_state_(config.mamba.d_state),
      dt_rank_(config.dt_rank()),
      inner_norms_(config.mamba.inner_norms),
      inner_norm_weights_(config.mamba.inner_norm_weights),
      inner_norm_eps_(config.mamba.inner_norm_eps.value_or(config.norm_eps)),
      in_proj_(prefix + "in_proj", config.d_model, 2 * d_inner_, config.mamba.proj_bias),
      x_proj_(prefix + "x_proj", d_inner_, dt_rank_ + 2 * d_state_, false),
      dt_proj_(prefix + "dt_proj", dt_rank_, d_inner_, true),
      out_proj_(prefix + "out_proj", d_inner_, config.d_model, config.mamba.proj_bias, Init::kResidualOut),
      conv_(prefix, d_inner_, config.mamba.d_conv, config.mamba.conv_bias),
      A_log_(make_param(prefix + "A_log", {d_inner_, d_state_}, Init::kALog, false)),
      D_(make_param(prefix + "D", {d_inner_}, Init::kOnes, false)),
      dt_norm_(make_param(prefix + "dt_layernorm.weight", {dt_rank_}, Init::kOnes, false)),
      B_norm_(make_param(prefix + "b_layernorm.weight", {d_state_}, Init::kOnes, false)),
      C_norm_(make_param(prefix + "c_layernorm.weight", {d_state_}, Init::kOnes, false)) {
  dt_proj_.bias.init = Init::kDtBias;
}

void Mamba1::visit(const ParamVisitor& visitor) {
  visitor(A_log_);
  visitor(D_);
  if (inner_norms_ && inner_norm_weights_) {
    visitor(dt_norm_);
    visitor(B_norm_);
    visitor(C_norm_);
  }
  conv_.visit(visitor);
  in_proj_.visit(visitor);
  x_proj_.visit(visitor);
  dt_proj_.visit(visitor);
  out_proj_.visit(visitor);
}

std::vector<CarrySpec> Mamba1::carries() const {
  const Dtype state = A_log_.value.dtype;
  return {conv_.carry(state), {.part = "ssm_state", .row = {d_inner_, d_state_}, .dtype = state}};
}

View Mamba1::forward(Pass& p, View x) const {
  const Mixed mixed = mix(p, x);
  return out_proj_.forward(p, gate(p, mixed.y, mixed.z));
}

Mamba1::Mixed Mamba1::mix(Pass& p, View x) const {
  const Segment& seg = p.segment;
  View uz = in_proj_.forward(p, x);
  View u = uz.columns(0, d_inner_), z = uz.columns(d_inner_, d_inner_);

  const Dtype state = wide(x.dtype);
  const auto [c, tail] = conv_.forward(p, {layer_, kConvTail}, u);

  Selection sel = select(p, c);
  View h = p.carry.enter({layer_, kSsmState}, state, state_shape(seg), [&] {
    SegmentMap map{p.arena().take(state, state_shape(seg)), p.arena().take(state, state_shape(seg))};
    scan_summary(p.ctx, {.x = c,
                         .dt = sel.dt,
                         .A_log = A_log_.value,
                         .B = sel.B,
                         .doc_start = seg.doc_start,
                         .decay = map.decay,
                         .state = map.state});
    return map;
  });
  View y = p.arena().take(x.dtype, c.shape),
       h_out = room_for_state(p, {layer_, kSsmState}, state, state_shape(seg));
  View tile_states =
      p.keeps() ? p.arena().take(Dtype::kF32, tile_states_shape(p.ctx.like(), c.shape, d_state_)) : View{};
  scan_forward(p.ctx, {.x = c,
                       .dt = sel.dt,
                       .A_log = A_log_.value,
                       .B = sel.B,
                       .C = sel.C,
                       .D = D_.value,
                       .doc_start = seg.doc_start,
                       .state_in = h,
                       .y = y,
                       .state_out = h_out,
                       .tile_states = tile_states});
  p.carry.leave({layer_, kSsmState}, h_out);

  if (p.keeps()) {
    p.saved.push(Saved{
        .x = x, .uz = uz, .tail = tail, .c = c, .h = h, .tile_states = tile_states, .y = y, .sel = sel});
  }
  return {y, z};
}

View Mamba1::backward(Pass& p, View dout) {
  const Segment& seg = p.segment;
  const Saved s = p.saved.pop<Saved>();
  View u = s.uz.columns(0, d_inner_), z = s.uz.columns(d_inner_, d_inner_);
  const Dtype state = wide(dout.dtype);
  View duz = p.arena().like(s.uz);
  View du = duz.columns(0, d_inner_), dz = duz.columns(d_inner_, d_inner_);

  View dgated = out_proj_.backward(p, gate(p, s.y, z), dout);
  View dy = p.arena().like(s.y);
  activation_backward(p.ctx, {.x = z, .up = s.y, .dout = dgated, .dx = dz, .dup = dy});

  View dh_out = p.carry.enter({layer_, kSsmState}, state, state_shape(seg), [&] {
    SegmentMap map{p.arena().take(state, state_shape(seg)), p.arena().take(state, state_shape(seg))};
    scan_summary_backward(p.ctx, {.dt = s.sel.dt,
                                  .A_log = A_log_.value,
                                  .C = s.sel.C,
                                  .doc_start = seg.doc_start,
                                  .dy = dy,
                                  .decay = map.decay,
                                  .state = map.state});
    return map;
  });
  View dc = p.arena().like(s.c), ddt = p.arena().like(s.sel.dt), dh = p.arena().take(state, state_shape(seg));
  View dB = p.arena().like(s.sel.B), dC = p.arena().like(s.sel.C);
  scan_backward(p.ctx, {.x = s.c,
                        .dt = s.sel.dt,
                        .A_log = A_log_.value,
                        .B = s.sel.B,
                        .C = s.sel.C,
                        .D = D_.value,
                        .doc_start = seg.doc_start,
                        .state_in = s.h,
                        .tile_states = s.tile_states,
                        .dy = dy,
                        .dstate_out = dh_out,
                        .dx = dc,
                        .ddt = ddt,
                        .dB = dB,
                        .dC = dC,
                        .dA_log = A_log_.grad,
                        .dD = D_.grad,
                        .dstate_in = dh});
  p.carry.leave({layer_, kSsmState}, dh);
  select_backward(p, s, ddt, dB, dC, dc);

  conv_.backward(p, {layer_, kConvTail}, u, s.tail, dc, du);
  return in_proj_.backward(p, s.x, duz);
}

Mamba1::Selection Mamba1::select(Pass& p, View c) const {
  Selection sel;
  sel.projected = x_proj_.forward_wide(p, c);
  const auto normed = [&](int64_t first, int64_t width, const Param& weight, View& inv_rms, Dtype dtype) {
    View raw = sel.projected.columns(first, width);
    if (!inner_norms_ && dtype == raw.dtype) return raw;
    View y = p.arena().take(dtype, raw.shape);
    if (!inner_norms_) {
      cast(p.ctx, {.from = raw, .to = y});
      return y;
    }
    inv_rms = p.arena().take(raw.dtype, Shape{p.segment.batch, p.segment.tokens});
    rms_norm_forward(p.ctx,
                     {.x = raw, .weight = weight.value, .y = y, .inv_rms = inv_rms, .eps = inner_norm_eps_});
    return y;
  };
  sel.dt_low = normed(0, dt_rank_, dt_norm_, sel.inv_dt, c.dtype);  // an operand of dt_proj, so like c
  sel.B = normed(dt_rank_, d_state_, B_norm_, sel.inv_B, sel.projected.dtype);
  sel.C = normed(dt_rank_ + d_state_, d_state_, C_norm_, sel.inv_C, sel.projected.dtype);
  sel.dt = dt_proj_.forward_wide(p, sel.dt_low, /*add_bias=*/false);
  softplus_forward(p.ctx, {.x = sel.dt, .bias = dt_proj_.bias.value, .y = sel.dt});
  return sel;
}

void Mamba1::select_backward(Pass& p, const Saved& s, View ddt, View dB, View dC, View dc) {
  View dlinear = ddt.dtype == s.c.dtype ? ddt : p.arena().take(s.c.dtype, ddt.shape);
  softplus_backward(p.ctx, {.y = s.sel.dt, .dy = ddt, .dx = dlinear});
  View ddt_low = dt_proj_.backward(p, s.sel.dt_low, dlinear, p.arena().take(ddt.dtype, s.sel.dt_low.shape));
  View dprojected = p.arena().take(s.c.dtype, s.sel.projected.shape);
  const auto through_norm = [&](int64_t first, int64_t width, Param& weight, View inv_rms, View dnormed) {
    View draw = dprojected.columns(first, width);
    if (!inner_norms_) return cast(p.ctx, {.from = dnormed, .to = draw});
    rms_norm_backward(p.ctx, {.sum = s.sel.projected.columns(first, width),
                              .weight = weight.value,
                              .inv_rms = inv_rms,
                              .dy = dnormed,
                              .dx = draw,
                              .dweight = weight.grad});
  };
  through_norm(0, dt_rank_, dt_norm_, s.sel.inv_dt, ddt_low);
  through_norm(dt_rank_, d_state_, B_norm_, s.sel.inv_B, dB);
  through_norm(dt_rank_ + d_state_, d_state_, C_norm_, s.sel.inv_C, dC);
  x_proj_.backward(p, s.c, dprojected, dc, /*accumulate=*/true);
}

View Mamba1::gate(Pass& p, View y, View z) const {
  View gated = p.arena().like(y);
  activation_forward(p.ctx, {.f = Activation::kSilu, .x = z, .up = y, .out = gated});
  return gated;
}

}  // namespace natrix
