// A Communicator that runs collectives on device tensors with NCCL, from GPU to GPU.
//
// Only collectives use NCCL. A message between two ranks must return at once and not wait for anybody
// (communicator.h); a send on an NCCL stream does not do that. States of a boundary are small and go through
// the host, as do tensors in host memory.
//
// Each axis has its own stream. A collective starts once the context's stream has done all earlier work, and
// then runs concurrently with later work of the context. Axes do not share a stream: ranks start the
// operations of different axes in different orders and would wait for each other. For collectives of several
// axes to run concurrently, the GPU needs room for the blocks of all of them, a few dozen each.
//
// wait() blocks the host. Once it returns, memory can be freed or reused on any stream. Meanwhile the host
// watches for a timeout: if a rank does not join within Watch::timeout, wait() throws RunError and aborts the
// communicator, so that the GPU does not wait forever.
//
// Sums are in NCCL's order. Every rank gets the same bits, but not those of a sum in the order of ranks.
#pragma once

#include <memory>
#include <string>

#include "distributed/communicator.h"
#include "distributed/transport.h"

namespace natrix {

bool built_with_nccl();

/// Collective over `axis`, which distributes the NCCL id; each of its ranks must have its own device. name:
/// name of the axis in errors. Throws ContractError in a build without NCCL.
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Transport> axis, std::string name);

}  // namespace natrix
