// Mamba-2 forward for a single token: one pass over the state, without the matrix products of ssd.cpp.
#pragma once

#include "kernels/cpu/ssd_plan.h"
#include "kernels/ssd.h"

namespace natrix::cpu {

/// Requires one token per sequence and no tile_states.
void ssd_step(Context& ctx, const SsdForward& args, const SsdPlan& plan);

}  // namespace natrix::cpu
