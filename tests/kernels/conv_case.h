// One problem for the short convolution: fresh operands, and a run of all its outputs and gradients on a
// context.
#pragma once

#include <string>

#include "kernels/conv.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/operands.h"

namespace natrix::test {

struct ConvSizes {
  int64_t batch, tokens, channels, taps;
  std::string to_string() const;
};

struct ConvExtras {
  bool documents = true, bias = true, carries = true;  // carries: tail_in and dtail_out
};

/// Operands by name: x, weight, bias, tail_in, dy, dtail_out. Results: y and tail_out; gradients go by their
/// operand's name. With one tap there are no tails.
struct ConvCase {
  ConvSizes size;
  Buffers in;
  Buffer doc_start;  // apart, since it has no gradient

  static ConvCase fresh(Random& random, Dtype dtype, ConvSizes size, ConvExtras extras = {});
  ConvCase as(Dtype dtype) const;
  View operator[](const std::string& name) const { return Views(in)[name]; }
  Dtype dtype() const { return (*this)["x"].dtype; }
  /// With x and dy, hence y and dx, in bf16.
  ConvCase narrowed() const;

  /// Where results go: poisoned, but for those that are added to, which start at `before`.
  Buffers outputs() const;
  Buffers gradients(double before = 0) const;
};

ConvSiluForward conv_forward_args(const Views& in, View doc_start, const Views& out);
ConvSiluBackward conv_backward_args(const Views& in, View doc_start, const Views& gradients);

Buffers run_forward(Context& ctx, const ConvCase& c);
Buffers run_backward(Context& ctx, const ConvCase& c, double before = 0);

}  // namespace natrix::test
