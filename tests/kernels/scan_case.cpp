#include "tests/kernels/scan_case.h"

#include <cmath>

namespace natrix::test {
std::string ScanSizes::to_string() const {
  return "B " + std::to_string(batch) + " T " + std::to_string(tokens) + " I " + std::to_string(channels) +
         " N " + std::to_string(states);
}

ScanCase ScanCase::fresh(Random& random, Dtype dtype, ScanSizes size, ScanExtras extras) {
  const auto [B, T, I, N] = size;
  ScanCase c{size, {}, {}};
  c.in["x"] = random.normal(dtype, {B, T, I});
  c.in["dt"] = random.uniform(dtype, {B, T, I}, std::log(1e-3), std::log(1.0));
  for_float(dtype, [&, count = B * T * I](auto zero) {  // log-uniform, as at initialisation and beyond
    auto* p = c.in["dt"].view().as<decltype(zero)>();
    for (int64_t i = 0; i < count; ++i) p[i] = std::exp(p[i]);
  });
  c.in["A_log"] = random.uniform(dtype, {I, N}, std::log(0.2), std::log(16.0));
  c.in["B"] = random.normal(dtype, {B, T, N});
  c.in["C"] = random.normal(dtype, {B, T, N});
  c.in["dy"] = random.normal(dtype, {B, T, I});
  if (extras.D) c.in["D"] = random.normal(dtype, {I});
  if (extras.carries) {
    c.in["state_in"] = random.normal(dtype, {B, I, N});
    c.in["dstate_out"] = random.normal(dtype, {B, I, N});
  }
  if (extras.documents) c.doc_start = random.document_starts(B, T, 0.1);
  return c;
}

ScanCase ScanCase::as(Dtype dtype) const {
  ScanCase c{size, test::as(dtype, in), {}};
  if (doc_start) c.doc_start = copy_of(doc_start.view());
  return c;
}

ScanCase ScanCase::narrowed() const {
  ScanCase c = as(Dtype::kF32);
  narrow(c.in, {"x", "dy"});
  return c;
}

Buffers ScanCase::outputs() const {
  Buffers out;
  out["y"] = poisoned(dtype(), (*this)["x"].shape);
  out["state_out"] = poisoned(wide(dtype()), {size.batch, size.channels, size.states});
  return out;
}

Buffers ScanCase::gradients(double before) const {
  Buffers out;
  for (const char* name : {"x", "dt", "B", "C"})
    out[name] = poisoned((*this)[name].dtype, (*this)[name].shape);
  out["state_in"] = poisoned(wide(dtype()), {size.batch, size.channels, size.states});
  out["A_log"] = filled(wide(dtype()), (*this)["A_log"].shape, before);
  if ((*this)["D"]) out["D"] = filled(wide(dtype()), (*this)["D"].shape, before);
  return out;
}

ScanForward scan_forward_args(const Views& in, View doc_start, const Views& out) {
  return {.x = in["x"],
          .dt = in["dt"],
          .A_log = in["A_log"],
          .B = in["B"],
          .C = in["C"],
          .D = in["D"],
          .doc_start = doc_start,
          .state_in = in["state_in"],
          .y = out["y"],
          .state_out = out["state_out"]};
}

ScanBackward scan_backward_args(const Views& in, View doc_start, const Views& gradients) {
  return {.x = in["x"],
          .dt = in["dt"],
          .A_log = in["A_log"],
          .B = in["B"],
          .C = in["C"],
          .D = in["D"],
          .doc_start = doc_start,
          .state_in = in["state_in"],
          .dy = in["dy"],
          .dstate_out = in["dstate_out"],
          .dx = gradients["x"],
          .ddt = gradients["dt"],
          .dB = gradients["B"],
          .dC = gradients["C"],
          .dA_log = gradients["A_log"],
          .dD = gradients["D"],
          .dstate_in = gradients["state_in"]};
}

void scan_backward_alone(Context& ctx, ScanBackward args) {
  const Shape shape = tile_states_shape(ctx.backend(), args.dt.shape, args.A_log.cols());
  const Buffer tile_states = poisoned(Dtype::kF32, shape);
  if (shape.count() > 0) {
    args.tile_states = tile_states.view();
    const Buffer y = poisoned(args.x.dtype, args.x.shape);
    scan_forward(ctx, {.x = args.x,
                       .dt = args.dt,
                       .A_log = args.A_log,
                       .B = args.B,
                       .C = args.C,
                       .D = args.D,
                       .doc_start = args.doc_start,
                       .state_in = args.state_in,
                       .y = y.view(),
                       .tile_states = args.tile_states});
  }
  scan_backward(ctx, args);
}

Buffers run_forward(Context& ctx, const ScanCase& c) {
  Buffers out = c.outputs();
  scan_forward(ctx, scan_forward_args(Views(c.in), c.doc_start.view(), Views(out)));
  return out;
}

Buffers run_backward(Context& ctx, const ScanCase& c, double before) {
  Buffers gradients = c.gradients(before);
  scan_backward_alone(ctx, scan_backward_args(Views(c.in), c.doc_start.view(), Views(gradients)));
  return gradients;
}

Buffers run_summary(Context& ctx, const ScanCase& c) {
  const Shape state{c.size.batch, c.size.channels, c.size.states};
  Buffers out;
  out["decay"] = poisoned(wide(c.dtype()), state);
  out["state"] = poisoned(wide(c.dtype()), state);
  scan_summary(ctx, {.x = c["x"],
                     .dt = c["dt"],
                     .A_log = c["A_log"],
                     .B = c["B"],
                     .doc_start = c.doc_start.view(),
                     .decay = out["decay"].view(),
                     .state = out["state"].view()});
  return out;
}

Buffers run_summary_backward(Context& ctx, const ScanCase& c) {
  const Shape state{c.size.batch, c.size.channels, c.size.states};
  Buffers out;
  out["decay"] = poisoned(wide(c.dtype()), state);
  out["state"] = poisoned(wide(c.dtype()), state);
  scan_summary_backward(ctx, {.dt = c["dt"],
                              .A_log = c["A_log"],
                              .C = c["C"],
                              .doc_start = c.doc_start.view(),
                              .dy = c["dy"],
                              .decay = out["decay"].view(),
                              .state = out["state"].view()});
  return out;
}

}  // namespace natrix::test
