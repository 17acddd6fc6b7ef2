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

/// Operands by name: x, dt, A_log, B, C, D, state_in, dy, dstate_out.
/// Results: y and state_out; gradients go by their operand's name.
struct ScanCase {
  ScanSizes size;
  Buffers in;
  Buffer doc_start;  // apart, since it has no gradient

  static ScanCase fresh(Random& random, Dtype dtype, ScanSizes size, ScanExtras extras = {});
  ScanCase as(Dtype dtype) const;
  View operator[](const std::string& name) const { return Views(in)[name]; }
  Dtype dtype() const { return (*this)["x"].dtype; }
  /// With x and dy, hence y and dx, in bf16.
  ScanCase narrowed() const;

  /// Where results go: poisoned, but for those that are added to, which start at `before`.
  Buffers outputs() const;
  Buffers gradients(double before = 0) const;
};

ScanForward scan_forward_args(const Views& in, View doc_start, const Views& out);
ScanBackward scan_backward_args(const Views& in, View doc_start, const Views& gradients);
/// scan_backward from the tile_states of a scan_forward whose outputs nobody needs.
void scan_backward_alone(Context& ctx, ScanBackward args);

Buffers run_forward(Context& ctx, const ScanCase& c);
Buffers run_backward(Context& ctx, const ScanCase& c, double before = 0);
/// decay and state.
Buffers run_summary(Context& ctx, const ScanCase& c);
Buffers run_summary_backward(Context& ctx, const ScanCase& c);

}  // namespace natrix::test
