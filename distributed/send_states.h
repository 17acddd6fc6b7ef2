// Sends all states of a boundary from one rank to another. The receiver need not know which states there are.
#pragma once

#include "core/carry/carry_states.h"
#include "distributed/communicator.h"

namespace natrix {

void send_states(Communicator& axis, Context& ctx, const CarryStates& states, int peer);
CarryStates receive_states(Communicator& axis, Context& ctx, int peer);

}  // namespace natrix
