#include "core/layers/mamba2.h"

#include <fmt/format.h>

#include "core/layers/scaled.h"
#include "kernels/ssd.h"

namespace natrix {
namespace {

GatedNorm order_of(const Mamba2Config& c) {
  if (!c.norm) return GatedNorm::kGateOnly;
  return c.norm_before_gate ? GatedNorm::kNormThenGate : GatedNorm::kGateThenNorm;
}

/// Throws InputError before anything is derived from numbers that do not fit together.
int checked_mamba2(const ModelConfig& c, int layer) {
  const Mamba2Config& m = c.mamba2;
  if (!m.num_heads && (m.expand * c.d_model) % m.head_dim != 0) {
    throw InputError(
        fmt::format("model.mamba2.head_dim: {} does not divide expand * d_model = {}; set num_heads "
                    "or another head_dim",
                    m.head_dim, m.expand * c.d_model));
  }
  if (c.mamba2_heads() % m.n_groups != 0) {
    throw InputError(
        fmt::format("model.mamba2.n_groups: {} groups do not divide {} heads", m.n_groups, c.mamba2_heads()));
  }
  return layer;
}

}  // namespace

Mamba2::Mamba2(const ModelConfig& config, int layer, int first_part, const std::string& prefix)
    : layer_(checked_mamba2(config, layer)),
      first_part_(first_part),
      heads_(config.mamba2_heads()),
      head_dim_(config.mamba2.head_dim),
      d_state_(config.mamba2.d_state),
      groups_(config.mamba2.n_groups),
      d_inner_(heads_ * head_dim_),
      mixed_(d_inner_ + 2 * groups_ * d_state_),
      dt_min_(config.mamba2.dt_min),
      dt_max_(config.mamba2.dt_max),
      norm_eps_(config.norm_eps),
      order_(order_of(config.mamba2)),
      z_factor_(config.mamba2.z_multiplier),
      x_factor_(config.mamba2.x_multiplier),
      B_factor_(config.mamba2.B_multiplier),
      C_factor_(config.mamba2.C_multiplier),
      dt_factor_(config.mamba2.dt_multiplier),
      in_proj_(prefix + "in_proj", config.d_model, d_inner_ + mixed_ + heads_, config.mamba2.proj_bias),
      out_proj_(prefix + "out_proj", d_inner_, config.d_model, config.mamba2.proj_bias, Init::kResidualOut),
      conv_(prefix, mixed_, config.mamba2.d_conv, config.mamba2.conv_bias),
      A_log_(make_param(prefix + "A_log", {heads_}, Init::kALog, false)),
      D_(make_param(prefix + "D", {heads_}, Init::kOnes, false)),
      dt_bias_(make_param(prefix + "dt_bias", {heads_}, Init::kDtBias, false)),
      norm_(make_param(prefix + "norm.weight", {d_inner_}, Init::kOnes, false)) {}

void Mamba2::visit(const ParamVisitor& visitor) {
  visitor(A_log_);
  visitor(D_);
  visitor(dt_bias_);
  conv_.visit(visitor);
  in_proj_.visit(visitor);
  if (order_ != GatedNorm::kGateOnly) visitor(norm_);
  out_proj_.visit(visitor);
}

std::vector<CarrySpec> Mamba2::carries() const {
  const Dtype state = A_log_.value.dtype;
  return {conv_.carry(state), {.part = "ssm_state", .row = {heads_, head_dim_, d_state_}, .dtype = state}};
}

Mamba2::Columns Mamba2::columns_of(View projected) const {
  return {.z = projected.columns(0, d_inner_),
          .u = projected.columns(d_inner_, mixed_),
          .dt = projected.columns(d_inner_ + mixed_, heads_)};
}

Mamba2::Inputs Mamba2::inputs_of(View c) const {
  const int64_t width = groups_ * d_state_;
  return {
      .x = c.columns(0, d_inner_), .B = c.columns(d_inner_, width), .C = c.columns(d_inner_ + width, width)};
}

void Mamba2::scale_parts(Pass& p, View projected) const {
  const Columns parts = columns_of(projected);
  const Inputs mixed = inputs_of(parts.u);
  scale_in_place(p, parts.z, z_factor_);
  scale_in_place(p, mixed.x, x_factor_);
  scale_in_place(p, mixed.B, B_factor_);
  scale_in_place(p, mixed.C, C_factor_);
  scale_in_place(p, parts.dt, dt_factor_);
}

View Mamba2::inv_rms(Pass& p, View y) const {
  if (order_ == GatedNorm::kGateOnly) return {};
  return p.arena().take(y.dtype, {y.rows(), groups_});
}

View Mamba2::gate(Pass& p, View y, View z, View inv_rms) const {
  View out = p.arena().like(y);
  gated_norm_forward(p.ctx, {.x = y,
                             .z = z,
                             .weight = order_ == GatedNorm::kGateOnly ? View{} : norm_.value,
                             .order = order_,
                             .groups = groups_,
                             .y = out,
                             .inv_rms = inv_rms,
                             .eps = norm_eps_});
  return out;
}

View Mamba2::forward(Pass& p, View x) const {
  const Mixed mixed = mix(p, x);
  return out_proj_.forward(p, gate(p, mixed.y, mixed.z, {}));
}

Mamba2::Mixed Mamba2::mix(Pass& p, View x) const {
  const Segment& seg = p.segment;
  const Dtype dtype = wide(x.dtype);
  View projected = in_proj_.forward(p, x);
  scale_parts(p, projected);
  const Columns in = columns_of(projected);
  const auto [c, tail] = conv_.forward(p, key(kConvTail), in.u);
  const Inputs mixed = inputs_of(c);

  View state = p.carry.enter(key(kSsmState), dtype, state_shape(seg), [&] {
    SegmentMap map{p.arena().take(dtype, {seg.batch, heads_}), p.arena().take(dtype, state_shape(seg))};
    ssd_summary(p.ctx, {.x = mixed.x,
                        .dt = in.dt,
                        .dt_bias = dt_bias_.value,
                        .A_log = A_log_.value,
                        .B = mixed.B,
                        .groups = groups_,
                        .dt_min = dt_min_,
                        .dt_max = dt_max_,
                        .doc_start = seg.doc_start,
                        .decay = map.decay,
                        .state = map.state});
    return map;
  });
  View y = p.arena().take(x.dtype, mixed.x.shape);
  View state_out = room_for_state(p, key(kSsmState), dtype, state_shape(seg));
  View tile_states =
      p.keeps()
          ? p.arena().take(Dtype::kF32, ssd_tile_states_shape(p.ctx.like(), mixed.x.shape, heads_, d_state_))
          : View{};
  ssd_forward(p.ctx, {.x = mixed.x,
                      .dt = in.dt,
                      .dt_bias = dt_bias_.value,
                      .A_log = A_log_.value,
                      .B = mixed.B,
                      .C = mixed.C,
                      .D = D_.value,
                      .groups = groups_,
                      .dt_min = dt_min_,
                      .dt_max = dt_max_,
                      .doc_start = seg.doc_start,
                      .state_in = state,
                      .y = y,
                      .state_out = state_out,
                      .tile_states = tile_states});
  p.carry.leave(key(kSsmState), state_out);
  if (p.keeps()) {
    p.saved.push(Saved{.x = x,
                       .projected = projected,
                       .tail = tail,
                       .c = c,
                       .state = state,
                       .tile_states = tile_states,
                       .y = y});
  }
  return {y, in.z};
}

View Mamba2::backward(Pass& p, View dout) {
  const Segment& seg = p.segment;
  const Saved s = p.saved.pop<Saved>();
  const Dtype dtype = wide(dout.dtype);
  const Columns in = columns_of(s.projected);
  View dprojected = p.arena().like(s.projected);
  const Columns din = columns_of(dprojected);

  const View rms = inv_rms(p, s.y);
  View dgated = out_proj_.backward(p, gate(p, s.y, in.z, rms), dout);
  View dy = dgated;
  const bool normed = order_ != GatedNorm::kGateOnly;
  gated_norm_backward(p.ctx, {.x = s.y,
                              .z = in.z,
                              .weight = normed ? norm_.value : View{},
                              .order = order_,
                              .groups = groups_,
                              .inv_rms = rms,
                              .dy = dgated,
                              .dx = dy,
                              .dz = din.z,
                              .dweight = normed ? norm_.grad : View{}});

  const Inputs mixed = inputs_of(s.c);
  View dstate_out = p.carry.enter(key(kSsmState), dtype, state_shape(seg), [&] {
    SegmentMap map{p.arena().take(dtype, {seg.batch, heads_}), p.arena().take(dtype, state_shape(seg))};
    ssd_summary_backward(p.ctx, {.dt = in.dt,
                                 .dt_bias = dt_bias_.value,
                                 .A_log = A_log_.value,
                                 .C = mixed.C,
                                 .groups = groups_,
                                 .dt_min = dt_min_,
                                 .dt_max = dt_max_,
                                 .doc_start = seg.doc_start,
                                 .dy = dy,
                                 .decay = map.decay,
                                 .state = map.state});
    return map;
  });
  View dc = p.arena().like(s.c), dstate = p.arena().take(dtype, state_shape(seg));
  const Inputs dmixed = inputs_of(dc);
  ssd_backward(p.ctx, {.x = mixed.x,
                       .dt = in.dt,
                       .dt_bias = dt_bias_.value,
                       .A_log = A_log_.value,
                       .B = mixed.B,
                       .C = mixed.C,
                       .D = D_.value,
                       .groups = groups_,
                       .dt_min = dt_min_,
                       .dt_max = dt_max_,
                       .doc_start = seg.doc_start,
                       .state_in = s.state,
                       .tile_states = s.tile_states,
                       .dy = dy,
                       .dstate_out = dstate_out,
                       .dx = dmixed.x,
                       .ddt = din.dt,
                       .dB = dmixed.B,
                       .dC = dmixed.C,
                       .ddt_bias = dt_bias_.grad,
                       .dA_log = A_log_.grad,
                       .dD = D_.grad,
                       .dstate_in = dstate});
  p.carry.leave(key(kSsmState), dstate);
  conv_.backward(p, key(kConvTail), in.u, s.tail, dc, din.u);
  scale_parts(p, dprojected);
  return in_proj_.backward(p, s.x, dprojected);
}

}  // namespace natrix
