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
  for_float(dtype, [&](auto zero) {  // log-uniform, as at initialisation and beyond
    auto* p = c.in["dt"].view().as<decltype(zero)>();
    for (int64_t i = 0; i < B * T * I; ++i) p[i] = std::exp(p[i]);
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
  ScanCase c{size, {}, {}};
  for (const auto& [name, buffer] : in) c.in[name] = test::as(dtype, buffer.view());
  if (doc_start) {
    c.doc_start = Buffer(Dtype::kU8, doc_start.view().shape);
    copy(doc_start.view(), c.doc_start.view());
  }
  return c;
}

View ScanCase::operator[](const std::string& name) const {
  const auto found = in.find(name);
  return found == in.end() ? View{} : found->second.view();
}

Buffers run_forward(Context& ctx, const ScanCase& c) {
  Buffers out;
  out["y"] = poisoned(c.dtype(), c["x"].shape);
  out["state_out"] = poisoned(c.dtype(), {c.size.batch, c.size.channels, c.size.states});
  scan_forward(ctx, {.x = c["x"],
                     .dt = c["dt"],
                     .A_log = c["A_log"],
                     .B = c["B"],
                     .C = c["C"],
                     .D = c["D"],
                     .doc_start = c.doc_start.view(),
                     .state_in = c["state_in"],
                     .y = out["y"].view(),
                     .state_out = out["state_out"].view()});
  return out;
}

Buffers run_backward(Context& ctx, const ScanCase& c, double before) {
  Buffers out;
  for (const char* name : {"x", "dt", "B", "C"}) out[name] = poisoned(c.dtype(), c[name].shape);
  out["state_in"] = poisoned(c.dtype(), {c.size.batch, c.size.channels, c.size.states});
  out["A_log"] = filled(c.dtype(), c["A_log"].shape, before);
  if (c["D"]) out["D"] = filled(c.dtype(), c["D"].shape, before);
  scan_backward(ctx, {.x = c["x"],
                      .dt = c["dt"],
                      .A_log = c["A_log"],
                      .B = c["B"],
                      .C = c["C"],
                      .D = c["D"],
                      .doc_start = c.doc_start.view(),
                      .state_in = c["state_in"],
                      .dy = c["dy"],
                      .dstate_out = c["dstate_out"],
                      .dx = out["x"].view(),
                      .ddt = out["dt"].view(),
                      .dB = out["B"].view(),
                      .dC = out["C"].view(),
                      .dA_log = out["A_log"].view(),
                      .dD = c["D"] ? out["D"].view() : View{},
                      .dstate_in = out["state_in"].view()});
  return out;
}

}  // namespace natrix::test
