// Bytes that a rank holds in a step.
#pragma once

#include "launch/plan/workload.h"

namespace natrix {

/// Weights, gradients and optimizer state to the byte, boundaries too; sums as if as many as may be were
/// under way at once; activations are the views that layers take (core/layers, moe), which the arena rounds
/// up, without the scratch of kernels but, on a GPU, that of the scan backward, which is larger than they
/// are. Rows at experts are those of even routing.
RankMemory count_memory(const Workload& w, const std::vector<ModelShare>& shares,
                        const std::vector<CommunicationTerm>& terms, DeviceBackend backend);

/// Bytes of what forward keeps for backward, of all sublayers, for one segment.
int64_t saved_bytes(const Workload& w, DeviceBackend backend);

}  // namespace natrix
