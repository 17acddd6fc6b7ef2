// The time of messages over a machine's links. Ranks fill the nodes in order.
#pragma once

#include "launch/plan/plan.h"

namespace natrix {

struct Wait {
  double seconds = 0;
  std::string bound;  // "node link", "network", "messages" or "latency"
};

/// The time that a rank waits for all exchanges of this term. Transfers inside a node overlap with those
/// between nodes.
Wait exchange_time(const MachineConfig& machine, const MeshShape& shape, const CommunicationTerm& term);

/// The time from sending one message along an axis to its arrival, over the slowest link of the axis.
double message_time(const MachineConfig& machine, const MeshShape& shape, MeshAxis axis, int64_t bytes);

}  // namespace natrix
