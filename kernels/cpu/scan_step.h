// The scan forward for a single token: the results of scan_forward without packing, which pays
// off only for more tokens.
#pragma once

#include "kernels/cpu/scan_plan.h"
#include "kernels/scan.h"

namespace natrix::cpu {

/// Whether there is one token per sequence and the states fill whole vectors of this machine.
bool is_scan_step(const ScanPlan& plan);
/// Like scan_forward, bit for bit. Requires is_scan_step.
void scan_step(Context& ctx, const ScanForward& args, const ScanPlan& plan);

}  // namespace natrix::cpu
