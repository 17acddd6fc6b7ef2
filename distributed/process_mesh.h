// ProcessMesh: the ranks of a run as dp × cp, with the experts folded over them, as in Megatron-LM.
//
//   rank = dp_rank · cp + cp_rank              cp ranks are neighbours: states travel between them
//   ep   divides dp · cp; ep_rank = rank % ep  each group of ep neighbours holds all experts once
//
//   axis         ranks that                     what they say
//   world        are all                        tally, loss
//   gradients    are all                        gradients of what all ranks hold, while others still compute
//   cp           read the same rows             carried states
//   ep           hold all experts between them  tokens, to their experts and back
//   expert_data  hold the same experts          those experts' gradients
#pragma once

#include <memory>
#include <vector>

#include "configs/experiment.h"
#include "distributed/communicator.h"
#include "distributed/transport.h"

namespace natrix {

struct MeshShape {
  int dp = 1, cp = 1, ep = 1;
  int ranks() const { return dp * cp; }
};

/// The mesh that a configuration asks for on so many ranks; dp: auto takes what cp leaves. InputError that
/// says which numbers would do.
MeshShape settle_mesh(const ParallelConfig& asked, int ranks);

/// How tensors of devices travel: by way of the hosts, or by NCCL (nccl_communicator.h).
enum class DeviceLink { kStaged, kNccl };

class ProcessMesh {
 public:
  /// One process.
  ProcessMesh();
  /// Collective over `world`, whose size is the shape's. Keeps world's watch, but not world itself.
  /// memory: where the tensors lie that its ranks exchange.
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
  /// The same ranks again, for what travels backwards in time: in a ring of two both directions go from one
  /// rank to the other, and must not overtake each other.
  Communicator& cp_backward() { return *cp_backward_; }
  Communicator& ep() { return *ep_; }
  Communicator& expert_data() { return *expert_data_; }
  /// What this rank has sent, over all axes.
  Traffic traffic() const;
  /// Communicator::scratch_bytes of all axes.
  int64_t scratch_bytes() const;
  /// For the messages of a rank that waits in vain.
  void set_step(int64_t step);

 private:
  std::vector<const Communicator*> axes() const;

  MeshShape shape_;
  std::unique_ptr<Transport> watched_;
  std::unique_ptr<Communicator> world_, gradients_, cp_, cp_backward_, ep_, expert_data_;
};

}  // namespace natrix
