// One problem for the selective scan: fresh operands, and a run of all its outputs and gradients on a
// context.
#pragma once

#include <string>

#include "kernels/scan.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/operands.h"

namespace natrix::test {

struct ScanSizes {
  int64_t batch, tokens, channels, states;
  std::string to_string() const;
};

struct ScanExtras {
  bool documents = true, D = true, carries = true;  // carries: state_in and dstate_out
};

/// Operands as a map, so that a test can go over all of them: x, dt, A_log, B, C, D, state_in, dy,
/// dstate_out. doc_start is kept apart since it has no gradient.
struct ScanCase {
  ScanSizes size;
  Buffers in;
  Buffer doc_start;

  static ScanCase fresh(Random& random, Dtype dtype, ScanSizes size, ScanExtras extras = {});
  ScanCase as(Dtype dtype) const;
  View operator[](const std::string& name) const;  // empty where the case has no such operand
  Dtype dtype() const { return (*this)["x"].dtype; }
};

/// y and state_out; the buffers are poisoned before.
Buffers run_forward(Context& ctx, const ScanCase& c);
/// Gradients by operand: x, dt, B, C and state_in, poisoned before; A_log and D, which are added to, start at
/// `before`.
Buffers run_backward(Context& ctx, const ScanCase& c, double before = 0);

}  // namespace natrix::test
