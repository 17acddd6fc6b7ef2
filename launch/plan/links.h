// The links of a machine between the ranks of a mesh, which fill node after node.
#pragma once

#include "launch/plan/plan.h"

namespace natrix {

struct Wait {
  double seconds = 0;
  std::string bound;  // "node link", "network", "messages" or "latency"
};

/// What a rank waits for the exchanges of a term: bytes within the node and between nodes travel at once.
Wait exchange_time(const MachineConfig& machine, const MeshShape& shape, const CommunicationTerm& term);

/// Until one message along an axis has arrived, over the slowest link of it.
double message_time(const MachineConfig& machine, const MeshShape& shape, MeshAxis axis, int64_t bytes);

}  // namespace natrix
