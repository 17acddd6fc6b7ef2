// RunMesh: connects the interfaces of core and moe to the ranks of a run.
#pragma once

#include <memory>

#include "configs/schema/experiment.h"
#include "core/layers/model.h"
#include "core/ranks/ranks.h"
#include "core/ranks/row_exchange.h"
#include "distributed/mesh_ranks.h"
#include "distributed/process_mesh.h"

namespace natrix {

/// What a mesh must know about a model.
struct MeshNeeds {
  CarryList carries;
  int64_t experts = 0;       // the largest number of experts of a layer; 0: the model has none
  bool needs_tally = false;  // sweep 1 of all micro-batches comes before any sweep 2
};
MeshNeeds needs_of(const Model& model);

/// InputError if rows, tokens or experts of the experiment cannot be divided over this mesh.
void check_layout(const ExperimentConfig& config, const MeshNeeds& needs, const MeshShape& shape);

/// The part of check_layout() that concerns the model.
void check_mesh(const MeshNeeds& needs, const MeshShape& shape);

class RunMesh {
 public:
  /// world: null for one process. Collective. `ctx` is borrowed.
  RunMesh(const ExperimentConfig& config, Context& ctx, Transport* world);
  RunMesh(const ExperimentConfig& config, Context& ctx, Transport* world, DeviceLink link);

  Ranks ranks() { return mesh_ranks_ ? mesh_ranks_->ranks() : alone_.ranks(); }
  const MeshShape& shape() const { return mesh_->shape(); }
  /// The row exchange for a model of this run. It borrows the mesh.
  std::unique_ptr<RowExchange> exchange();
  Traffic traffic() const { return mesh_->traffic(); }
  /// Traffic of the gradients' sums.
  Traffic gradient_traffic() const;
  /// Traffic of rows to their experts and back, and of their counts.
  Traffic expert_traffic() const { return mesh_->ep().traffic(); }

 private:
  std::unique_ptr<ProcessMesh> mesh_;
  std::unique_ptr<MeshRanks> mesh_ranks_;  // null for one process
  OneProcess alone_;
};

/// NCCL if the build has it (`nccl`) and every rank of this machine has its own GPU; else through host
/// memory. InputError if there are fewer GPUs than ranks and they may not be shared (parallel.share_gpus).
DeviceLink device_link(int gpus, int ranks, bool nccl, bool share);
/// NCCL if every rank can use it, because machines may differ; else all ranks use host memory. Collective.
DeviceLink agreed_link(Transport& world, DeviceLink mine);

/// The index of this process among the ranks of its machine, from the launcher's environment; 0 without one.
int place_on_host();

/// The default number of threads of a rank: its share of the processors that the ranks of its host may use.
int threads_of_a_rank();

}  // namespace natrix
