// A Communicator whose collectives on tensors of a device are NCCL's, from GPU to GPU.
//
// Only collectives: a message between two ranks returns at once and waits for nobody (communicator.h), which
// NCCL's send on a stream does not; states of a boundary are small, and go by way of the host, as does what
// lies there.
//
// The host waits for a collective where it is started, and watches over it: a rank that does not come ends in
// a RunError after Watch::timeout, and the communicator is aborted, so that the GPU is not left waiting.
// Nothing is hidden behind compute so far; that takes a stream of its own for every axis, for ranks start the
// operations of different axes in different orders, and one stream would keep them waiting for each other.
// Sums are in NCCL's order: the same bits on every rank, but not those of the order of ranks.
#pragma once

#include <memory>
#include <string>

#include "distributed/communicator.h"
#include "distributed/transport.h"

namespace natrix {

bool built_with_nccl();

/// Collective over `axis`, by which its id travels; each of its ranks has a device of its own. name: of the
/// axis, in errors. ContractError in a build without NCCL.
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Transport> axis, std::string name);

}  // namespace natrix
