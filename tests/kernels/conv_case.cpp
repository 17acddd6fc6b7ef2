#include "tests/kernels/conv_case.h"

namespace natrix::test {

std::string ConvSizes::to_string() const {
  return "B " + std::to_string(batch) + " T " + std::to_string(tokens) + " I " + std::to_string(channels) +
         " K " + std::to_string(taps);
}

ConvCase ConvCase::fresh(Random& random, Dtype dtype, ConvSizes size, ConvExtras extras) {
  const auto [B, T, I, K] = size;
  ConvCase c{size, {}, {}};
  c.in["x"] = random.normal(dtype, {B, T, I});
  c.in["weight"] = random.normal(dtype, {I, K});
  c.in["dy"] = random.normal(dtype, {B, T, I});
  if (extras.bias) c.in["bias"] = random.normal(dtype, {I});
  if (extras.carries && K > 1) {
    c.in["tail_in"] = random.normal(dtype, {B, K - 1, I});
    c.in["dtail_out"] = random.normal(dtype, {B, K - 1, I});
  }
  if (extras.documents) c.doc_start = random.document_starts(B, T, 0.2);
  return c;
}

ConvCase ConvCase::as(Dtype dtype) const {
  ConvCase c{size, {}, {}};
  for (const auto& [name, buffer] : in) c.in[name] = test::as(dtype, buffer.view());
  if (doc_start) {
    c.doc_start = Buffer(Dtype::kU8, doc_start.view().shape);
    copy(doc_start.view(), c.doc_start.view());
  }
  return c;
}

View ConvCase::operator[](const std::string& name) const {
  const auto found = in.find(name);
  return found == in.end() ? View{} : found->second.view();
}

Buffers run_forward(Context& ctx, const ConvCase& c) {
  Buffers out;
  out["y"] = poisoned(c.dtype(), c["x"].shape);
  if (c.size.taps > 1)
    out["tail_out"] = poisoned(c.dtype(), {c.size.batch, c.size.taps - 1, c.size.channels});
  conv_silu_forward(ctx, {.x = c["x"],
                          .weight = c["weight"],
                          .bias = c["bias"],
                          .tail_in = c["tail_in"],
                          .doc_start = c.doc_start.view(),
                          .y = out["y"].view(),
                          .tail_out = c.size.taps > 1 ? out["tail_out"].view() : View{}});
  return out;
}

Buffers run_backward(Context& ctx, const ConvCase& c, double before) {
  Buffers out;
  out["x"] = poisoned(c.dtype(), c["x"].shape);
  out["weight"] = filled(c.dtype(), c["weight"].shape, before);
  if (c["bias"]) out["bias"] = filled(c.dtype(), c["bias"].shape, before);
  if (c.size.taps > 1) out["tail_in"] = poisoned(c.dtype(), {c.size.batch, c.size.taps - 1, c.size.channels});
  conv_silu_backward(ctx, {.x = c["x"],
                           .weight = c["weight"],
                           .bias = c["bias"],
                           .tail_in = c["tail_in"],
                           .doc_start = c.doc_start.view(),
                           .dy = c["dy"],
                           .dtail_out = c["dtail_out"],
                           .dx = out["x"].view(),
                           .dweight = out["weight"].view(),
                           .dbias = c["bias"] ? out["bias"].view() : View{},
                           .dtail_in = c.size.taps > 1 ? out["tail_in"].view() : View{}});
  return out;
}

}  // namespace natrix::test
