// A Communicator whose collectives on tensors of a device are NCCL's, from GPU to GPU.
//
// Only collectives: a message between two ranks returns at once and waits for nobody (communicator.h), which
// NCCL's send on a stream does not; states of a boundary are small, and go by way of the host, as does what
// lies there.
//
// Each axis has a stream of its own: a collective begins once the context's stream has done what it was asked
// for before, and goes on beside what the context is asked for afterwards. Axes do not share a stream, for
// ranks start the operations of different axes in different orders and would wait for each other; that
// collectives of several axes run side by side needs a GPU with room for the blocks of all of them, which are
// a few dozen each.
//
// wait() is a wait of the host: memory can be freed or used otherwise as soon as it returns, whichever stream
// does so, and the host watches meanwhile. A rank that does not come ends in a RunError after Watch::timeout,
// and the communicator is aborted, so that the GPU is not left waiting.
//
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
