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
  ConvCase c{size, test::as(dtype, in), {}};
  if (doc_start) c.doc_start = copy_of(doc_start.view());
  return c;
}

ConvCase ConvCase::narrowed() const {
  ConvCase c = as(Dtype::kF32);
  narrow(c.in, {"x", "dy"});
  return c;
}

Buffers ConvCase::outputs() const {
  Buffers out;
  out["y"] = poisoned(dtype(), (*this)["x"].shape);
  if (size.taps > 1) out["tail_out"] = poisoned(wide(dtype()), {size.batch, size.taps - 1, size.channels});
  return out;
}

Buffers ConvCase::gradients(double before) const {
  Buffers out;
  out["x"] = poisoned(dtype(), (*this)["x"].shape);
  out["weight"] = filled(wide(dtype()), (*this)["weight"].shape, before);
  if ((*this)["bias"]) out["bias"] = filled(wide(dtype()), (*this)["bias"].shape, before);
  if (size.taps > 1) out["tail_in"] = poisoned(wide(dtype()), {size.batch, size.taps - 1, size.channels});
  return out;
}

ConvSiluForward conv_forward_args(const Views& in, View doc_start, const Views& out) {
  return {.x = in["x"],
          .weight = in["weight"],
          .bias = in["bias"],
          .tail_in = in["tail_in"],
          .doc_start = doc_start,
          .y = out["y"],
          .tail_out = out["tail_out"]};
}

ConvSiluBackward conv_backward_args(const Views& in, View doc_start, const Views& gradients) {
  return {.x = in["x"],
          .weight = in["weight"],
          .bias = in["bias"],
          .tail_in = in["tail_in"],
          .doc_start = doc_start,
          .dy = in["dy"],
          .dtail_out = in["dtail_out"],
          .dx = gradients["x"],
          .dweight = gradients["weight"],
          .dbias = gradients["bias"],
          .dtail_in = gradients["tail_in"]};
}

Buffers run_forward(Context& ctx, const ConvCase& c) {
  Buffers out = c.outputs();
  conv_silu_forward(ctx, conv_forward_args(Views(c.in), c.doc_start.view(), Views(out)));
  return out;
}

Buffers run_backward(Context& ctx, const ConvCase& c, double before) {
  Buffers gradients = c.gradients(before);
  conv_silu_backward(ctx, conv_backward_args(Views(c.in), c.doc_start.view(), Views(gradients)));
  return gradients;
}

}  // namespace natrix::test
