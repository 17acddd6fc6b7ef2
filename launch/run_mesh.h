// The mesh of a run, plugged into what core and moe ask of other ranks.
#pragma once

#include <memory>

#include "configs/schema/experiment.h"
#include "core/layers/model.h"
#include "core/ranks/ranks.h"
#include "core/ranks/row_exchange.h"
#include "distributed/mesh_ranks.h"
#include "distributed/process_mesh.h"

namespace natrix {

/// What a mesh has to know of a model.
struct MeshNeeds {
  CarryList carries;
  int64_t experts = 0;       // the most that may be spread over parallel.ep; 0: the model has none
  bool needs_tally = false;  // sweep 1 of all micro-batches comes before any sweep 2
};
MeshNeeds needs_of(const Model& model);

/// InputError where this mesh cannot hold this experiment: rows, tokens or experts that cannot be shared out.
void check_layout(const ExperimentConfig& config, const MeshNeeds& needs, const MeshShape& shape);

/// The part of it that concerns the model.
void check_mesh(const MeshNeeds& needs, const MeshShape& shape);

class RunMesh {
 public:
  /// world: null for one process. Collective. `ctx` is borrowed.
  RunMesh(const ExperimentConfig& config, Context& ctx, Transport* world);
  RunMesh(const ExperimentConfig& config, Context& ctx, Transport* world, DeviceLink link);

  Ranks ranks() { return mesh_ranks_ ? mesh_ranks_->ranks() : alone_.ranks(); }
  const MeshShape& shape() const { return mesh_->shape(); }
  /// For a model of this run; it borrows the mesh.
  std::unique_ptr<RowExchange> exchange();
  Traffic traffic() const { return mesh_->traffic(); }
  /// Of sums of gradients.
  Traffic gradient_traffic() const;
  /// Of rows that go to their experts and back, and of their numbers.
  Traffic expert_traffic() const { return mesh_->ep().traffic(); }

 private:
  std::unique_ptr<ProcessMesh> mesh_;
  std::unique_ptr<MeshRanks> mesh_ranks_;  // null for one process
  OneProcess alone_;
};

/// NCCL where the build has it (`nccl`) and every rank of a machine has a GPU of its own; else by way of the
/// hosts. InputError where there are fewer GPUs than ranks and they may not be shared (parallel.share_gpus).
DeviceLink device_link(int gpus, int ranks, bool nccl, bool share);
/// NCCL where every rank can, as machines may differ; else all go by way of the hosts. Collective.
DeviceLink agreed_link(Transport& world, DeviceLink mine);

/// This process among the ranks of its machine, from the launcher's environment; 0 without one.
int place_on_host();

/// Threads of a rank that was not told how many: its part of the processors that the ranks of a host may use.
int threads_of_a_rank();

}  // namespace natrix
