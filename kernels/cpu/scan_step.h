// The scan forwards by a single token: scan_forward's results, without the packing that only more tokens
// repay.
#pragma once

#include "kernels/cpu/scan_plan.h"
#include "kernels/scan.h"

namespace natrix::cpu {

/// One token a sequence, and states that fill whole vectors of this machine.
bool is_scan_step(const ScanPlan& plan);
/// As scan_forward, bit for bit, where is_scan_step.
void scan_step(Context& ctx, const ScanForward& args, const ScanPlan& plan);

}  // namespace natrix::cpu
