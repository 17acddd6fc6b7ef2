#include "tests/kernels/ssd_case.h"

#include <cmath>

namespace natrix::test {

std::string SsdSizes::to_string() const {
  return "B " + std::to_string(batch) + " T " + std::to_string(tokens) + " H " + std::to_string(heads) +
         " P " + std::to_string(channels) + " N " + std::to_string(states) + " G " + std::to_string(groups);
}

SsdCase SsdCase::fresh(Random& random, Dtype dtype, SsdSizes size, SsdExtras extras) {
  const auto [B, T, H, P, N, G] = size;
  SsdCase c{.size = size, .dt_min = extras.dt_min, .dt_max = extras.dt_max};
  c.in["x"] = random.normal(dtype, {B, T, H * P});
  c.in["dt"] = random.uniform(dtype, {B, T, H}, -7.0, 0.5);  // Δ from 1e-3 to 1
  c.in["A_log"] = random.uniform(dtype, {H}, std::log(0.2), std::log(16.0));
  c.in["B"] = random.normal(dtype, {B, T, G * N});
  c.in["C"] = random.normal(dtype, {B, T, G * N});
  c.in["dy"] = random.normal(dtype, {B, T, H * P});
  if (extras.D) c.in["D"] = random.normal(dtype, {H});
  if (extras.dt_bias) c.in["dt_bias"] = random.normal(dtype, {H}, 0.3);
  if (extras.carries) {
    c.in["state_in"] = random.normal(dtype, c.state());
    c.in["dstate_out"] = random.normal(dtype, c.state());
  }
  if (extras.documents) c.doc_start = random.document_starts(B, T, 0.1);
  return c;
}

SsdCase SsdCase::as(Dtype dtype) const {
  SsdCase c{.size = size, .dt_min = dt_min, .dt_max = dt_max, .in = test::as(dtype, in)};
  if (doc_start) c.doc_start = copy_of(doc_start.view());
  return c;
}

SsdCase SsdCase::part(int64_t begin, int64_t count) const {
  SsdCase c{.size = size, .dt_min = dt_min, .dt_max = dt_max};
  c.size.tokens = count;
  for (const char* name : {"x", "dt", "B", "C", "dy"})
    c.in[name] = copy_of(tokens_of((*this)[name], begin, count));
  for (const char* name : {"A_log", "D", "dt_bias"}) {
    if ((*this)[name]) c.in[name] = copy_of((*this)[name]);
  }
  if (doc_start) {
    c.doc_start = Buffer(Dtype::kU8, {1, count});
    std::copy_n(doc_start.view().as<uint8_t>() + begin, count, c.doc_start.view().as<uint8_t>());
  }
  return c;
}

Buffers SsdCase::outputs() const {
  Buffers out;
  out["y"] = poisoned(dtype(), (*this)["x"].shape);
  out["state_out"] = poisoned(dtype(), state());
  return out;
}

Buffers SsdCase::gradients(double before) const {
  Buffers out;
  for (const char* name : {"x", "dt", "B", "C"}) out[name] = poisoned(dtype(), (*this)[name].shape);
  out["state_in"] = poisoned(dtype(), state());
  for (const char* name : {"A_log", "D", "dt_bias"}) {
    if ((*this)[name]) out[name] = filled(dtype(), (*this)[name].shape, before);
  }
  return out;
}

SsdForward ssd_forward_args(const SsdCase& c, const Views& in, const Views& out) {
  return {.x = in["x"],
          .dt = in["dt"],
          .dt_bias = in["dt_bias"],
          .A_log = in["A_log"],
          .B = in["B"],
          .C = in["C"],
          .D = in["D"],
          .groups = c.size.groups,
          .dt_min = c.dt_min,
          .dt_max = c.dt_max,
          .doc_start = c.doc_start.view(),
          .state_in = in["state_in"],
          .y = out["y"],
          .state_out = out["state_out"]};
}

SsdBackward ssd_backward_args(const SsdCase& c, const Views& in, const Views& gradients) {
  return {.x = in["x"],
          .dt = in["dt"],
          .dt_bias = in["dt_bias"],
          .A_log = in["A_log"],
          .B = in["B"],
          .C = in["C"],
          .D = in["D"],
          .groups = c.size.groups,
          .dt_min = c.dt_min,
          .dt_max = c.dt_max,
          .doc_start = c.doc_start.view(),
          .state_in = in["state_in"],
          .dy = in["dy"],
          .dstate_out = in["dstate_out"],
          .dx = gradients["x"],
          .ddt = gradients["dt"],
          .dB = gradients["B"],
          .dC = gradients["C"],
          .ddt_bias = gradients["dt_bias"],
          .dA_log = gradients["A_log"],
          .dD = gradients["D"],
          .dstate_in = gradients["state_in"]};
}

void ssd_backward_alone(Context& ctx, SsdBackward args) {
  const Shape shape =
      ssd_tile_states_shape(ctx.backend(), args.x.shape, args.dt.cols(), args.B.cols() / args.groups);
  const Buffer tile_states = poisoned(Dtype::kF32, shape);
  if (shape.count() > 0) {
    args.tile_states = tile_states.view();
    const Buffer y = poisoned(args.x.dtype, args.x.shape);
    ssd_forward(ctx, {.x = args.x,
                      .dt = args.dt,
                      .dt_bias = args.dt_bias,
                      .A_log = args.A_log,
                      .B = args.B,
                      .C = args.C,
                      .D = args.D,
                      .groups = args.groups,
                      .dt_min = args.dt_min,
                      .dt_max = args.dt_max,
                      .doc_start = args.doc_start,
                      .state_in = args.state_in,
                      .y = y.view(),
                      .tile_states = args.tile_states});
  }
  ssd_backward(ctx, args);
}

Buffers run_forward(Context& ctx, const SsdCase& c) {
  Buffers out = c.outputs();
  ssd_forward(ctx, ssd_forward_args(c, Views(c.in), Views(out)));
  return out;
}

Buffers run_backward(Context& ctx, const SsdCase& c, double before) {
  Buffers gradients = c.gradients(before);
  ssd_backward_alone(ctx, ssd_backward_args(c, Views(c.in), Views(gradients)));
  return gradients;
}

Buffers run_summary(Context& ctx, const SsdCase& c) {
  Buffers out;
  out["decay"] = poisoned(c.dtype(), {c.size.batch, c.size.heads});
  out["state"] = poisoned(c.dtype(), c.state());
  ssd_summary(ctx, {.x = c["x"],
                    .dt = c["dt"],
                    .dt_bias = c["dt_bias"],
                    .A_log = c["A_log"],
                    .B = c["B"],
                    .groups = c.size.groups,
                    .dt_min = c.dt_min,
                    .dt_max = c.dt_max,
                    .doc_start = c.doc_start.view(),
                    .decay = out["decay"].view(),
                    .state = out["state"].view()});
  return out;
}

Buffers run_summary_backward(Context& ctx, const SsdCase& c) {
  Buffers out;
  out["decay"] = poisoned(c.dtype(), {c.size.batch, c.size.heads});
  out["state"] = poisoned(c.dtype(), c.state());
  ssd_summary_backward(ctx, {.dt = c["dt"],
                             .dt_bias = c["dt_bias"],
                             .A_log = c["A_log"],
                             .C = c["C"],
                             .groups = c.size.groups,
                             .dt_min = c.dt_min,
                             .dt_max = c.dt_max,
                             .doc_start = c.doc_start.view(),
                             .dy = c["dy"],
                             .decay = out["decay"].view(),
                             .state = out["state"].view()});
  return out;
}

}  // namespace natrix::test
