// ProcessMesh: the ranks of a run as dp × cp, with the experts folded over them as in Megatron-LM.
//
//   rank = dp_rank · cp + cp_rank              cp ranks are neighbours: states travel between them
//   ep   divides dp · cp; ep_rank = rank % ep  each group of ep neighbours holds all experts once
//
//   axis         its ranks                      used for
//   world        all                            tally, loss
//   gradients    all                            gradients of replicated parameters, during backward
//   cp           read the same rows             carried states
//   ep           hold all experts together      tokens, to their experts and back
//   expert_data  hold the same experts          gradients of those experts
#pragma once

#include <memory>
#include <vector>

#include "configs/schema/experiment.h"
#include "distributed/communicator.h"
#include "distributed/transport.h"

namespace natrix {

struct MeshShape {
  int dp = 1, cp = 1, ep = 1;
  int ranks() const { return dp * cp; }
};

/// The mesh for a configuration and a number of ranks. `dp: auto` takes what cp leaves. Throws InputError
/// that names numbers that would work.
MeshShape settle_mesh(const ParallelConfig& asked, int ranks);

/// How device tensors travel: through the hosts, or with NCCL (nccl_communicator.h).
enum class DeviceLink { kStaged, kNccl };

class ProcessMesh {
 public:
  /// A single process.
  ProcessMesh();
  /// Collective over `world`, whose size must be that of the shape. Keeps world's watch, but not world
  /// itself. memory: where the exchanged tensors lie.
  ProcessMesh(MeshShape shape, Transport& world, Memory memory = Memory::kHost,
              DeviceLink link = DeviceLink::kStaged);
  /// One rank of a dry run: every axis is a CountingCommunicator.
  ProcessMesh(MeshShape shape, int rank);
  ~ProcessMesh();

  const MeshShape& shape() const { return shape_; }
  int rank() const { return world_->rank(); }
  int dp_rank() const { return rank() / shape_.cp; }
  int cp_rank() const { return rank() % shape_.cp; }
  int ep_rank() const { return rank() % shape_.ep; }

  Communicator& world() { return *world_; }
  Communicator& gradients() { return *gradients_; }
  Communicator& cp() { return *cp_; }
  /// The same ranks, for states that travel backwards in time. In a ring of two, both directions go from one
  /// rank to the other; with separate communicators their messages cannot be confused.
  Communicator& cp_backward() { return *cp_backward_; }
  Communicator& ep() { return *ep_; }
  Communicator& expert_data() { return *expert_data_; }
  /// What this rank has sent, summed over all axes.
  Traffic traffic() const;
  /// Communicator::scratch_bytes, summed over all axes.
  int64_t scratch_bytes() const;
  /// Step number, used in timeout messages.
  void set_step(int64_t step);

 private:
  std::vector<const Communicator*> axes() const;

  MeshShape shape_;
  std::unique_ptr<Transport> watched_;
  std::unique_ptr<Communicator> world_, gradients_, cp_, cp_backward_, ep_, expert_data_;
};

}  // namespace natrix
