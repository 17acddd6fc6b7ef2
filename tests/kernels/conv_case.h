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

/// Operands as a map, so that a test can go over all of them: x, weight, bias, tail_in, dy, dtail_out.
struct ConvCase {
  ConvSizes size;
  Buffers in;
  Buffer doc_start;

  static ConvCase fresh(Random& random, Dtype dtype, ConvSizes size, ConvExtras extras = {});
  ConvCase as(Dtype dtype) const;
  View operator[](const std::string& name) const;  // empty where the case has no such operand
  Dtype dtype() const { return (*this)["x"].dtype; }
};

/// y and tail_out; the buffers are poisoned before.
Buffers run_forward(Context& ctx, const ConvCase& c);
/// Gradients by operand: x and tail_in, poisoned before; weight and bias, which are added to, start at
/// `before`.
Buffers run_backward(Context& ctx, const ConvCase& c, double before = 0);

}  // namespace natrix::test
