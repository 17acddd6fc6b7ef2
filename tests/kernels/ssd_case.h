// One problem for the Mamba-2 recurrence: fresh operands, and a run of all its outputs and gradients on a
// context.
#pragma once

#include <limits>
#include <string>

#include "kernels/ssd.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/operands.h"

namespace natrix::test {

struct SsdSizes {
  int64_t batch, tokens, heads, channels, states, groups = 1;
  std::string to_string() const;
};

struct SsdExtras {
  bool documents = true, D = true, dt_bias = true, carries = true;  // carries: state_in and dstate_out
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();
};

/// Operands by name: x, dt, dt_bias, A_log, B, C, D, state_in, dy, dstate_out.
/// Results: y and state_out; gradients go by their operand's name.
struct SsdCase {
  SsdSizes size;
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();
  Buffers in{};
  Buffer doc_start{};  // apart, since it has no gradient

  static SsdCase fresh(Random& random, Dtype dtype, SsdSizes size, SsdExtras extras = {});
  SsdCase as(Dtype dtype) const;
  View operator[](const std::string& name) const { return Views(in)[name]; }
  Dtype dtype() const { return (*this)["x"].dtype; }
  Shape state() const { return {size.batch, size.heads, size.channels, size.states}; }
  /// Tokens [begin, begin + count) of a case of one sequence, in memory of its own, without carried states.
  SsdCase part(int64_t begin, int64_t count) const;

  /// Where results go: poisoned, but for those that are added to, which start at `before`.
  Buffers outputs() const;
  Buffers gradients(double before = 0) const;
};

SsdForward ssd_forward_args(const SsdCase& c, const Views& in, const Views& out);
SsdBackward ssd_backward_args(const SsdCase& c, const Views& in, const Views& gradients);
/// ssd_backward from the tile_states of an ssd_forward whose outputs nobody needs.
void ssd_backward_alone(Context& ctx, SsdBackward args);

Buffers run_forward(Context& ctx, const SsdCase& c);
Buffers run_backward(Context& ctx, const SsdCase& c, double before = 0);
/// decay and state.
Buffers run_summary(Context& ctx, const SsdCase& c);
Buffers run_summary_backward(Context& ctx, const SsdCase& c);

}  // namespace natrix::test
