// Ceilings: the most that this machine reaches, measured in the same run as the figures compared with them.
// Machines differ and clouds share them, so a ceiling from a data sheet or from yesterday says little.
#pragma once

#include <string>
#include <vector>

#include "kernels/base/context.h"

namespace natrix::bench {

/// Rates per second, for all threads of the context together.
struct Ceilings {
  double flops = 0;  // f32 multiply-adds in registers, two operations each; on a device, in a large product
  double bf16_flops = 0;  // on a device, in a large product of bf16
  /// On a CPU, f32 exponentials in registers: Exp2NonPositive, the cheapest of kernels/cpu. On a device, ex2.
  double exps = 0;
  double bytes = 0;  // read + written, copying an array or updating it in place, whichever is faster
  double reads = 0;  // read only, adding an array up; arrays are far larger than the caches
};

/// Takes a second or two. Each ceiling is the best of several attempts, because a disturbance only ever slows
/// one down. quick: on a device, uses operands so small that the figures mean nothing.
Ceilings measure_ceilings(Context& ctx, bool quick);
/// The ceilings of backend cuda (cuda_ceilings.cu).
Ceilings measure_device(Context& ctx, bool quick);

/// The instruction set that run-time dispatch picks on this machine, for example "AVX3_ZEN4".
std::string instruction_set();
/// The instruction sets of this machine, best first.
std::vector<std::string> instruction_sets();
/// Makes kernels and ceilings use this instruction set. Returns false if the machine does not have it.
bool use_instruction_set(const std::string& name);

}  // namespace natrix::bench
