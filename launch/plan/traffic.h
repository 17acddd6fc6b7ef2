// What the ranks of a mesh send each other in a step: bytes and messages,
// counted as the communicators count them (distributed/rank_communicator.cpp).
#pragma once

#include "launch/plan/workload.h"

namespace natrix {

/// Of floats shared out over ranks: a rank's bytes. The first has most.
int64_t share_bytes(int64_t bytes, int64_t ranks, int64_t rank = 0);

/// Ranks of a line of the mesh.
int64_t axis_size(const MeshShape& shape, MeshAxis axis);

/// Without seconds; terms of an axis with one rank, or of which nothing travels, are left out. Rows to
/// experts are those of even routing.
std::vector<CommunicationTerm> count_traffic(const Workload& w, const std::vector<ModelShare>& shares);

}  // namespace natrix
