// Ceilings: what this machine can do at most, measured in the same run as the figures that stand beside them.
// Machines differ and clouds share them; a ceiling from a data sheet, or from yesterday, says little.
#pragma once

#include <string>
#include <vector>

#include "kernels/base/context.h"

namespace natrix::bench {

/// Per second, of all the context's threads together.
struct Ceilings {
  double flops = 0;  // f32 multiply-adds in registers, two operations each; of a device, in a large product
  double bf16_flops = 0;  // of a device: in a large product of bf16
  double exps = 0;  // of a device, ex2 in registers; else f32 exponentials in registers: Exp2NonPositive, the
                    // cheapest of kernels/cpu
  double bytes = 0;  // read + written, copying an array or updating it in place, whichever is faster
  double reads = 0;  // read, adding an array up; here as there, arrays are far larger than the caches
};

/// Takes a second or two. Each ceiling is the best of several attempts: what disturbs a measurement only
/// slows it.
/// quick: of a device, with operands so small that the figures mean nothing.
Ceilings measure_ceilings(Context& ctx, bool quick);
/// Of backend cuda (cuda_ceilings.cu).
Ceilings measure_device(Context& ctx, bool quick);

/// The instruction set that run-time dispatch picks here, "AVX3_ZEN4" for instance.
std::string instruction_set();
/// Those that this machine has, best first.
std::vector<std::string> instruction_sets();
/// Makes kernels and ceilings take another than the best; false if this machine does not have it.
bool use_instruction_set(const std::string& name);

}  // namespace natrix::bench
