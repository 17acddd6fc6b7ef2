#include "launch/run_mesh.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>

#include "distributed/all_to_all_exchange.h"
#include "distributed/mesh_group.h"
#include "distributed/mpi_communicator.h"
#include "distributed/nccl_communicator.h"
#include "kernels/base/build.h"
#include "kernels/cuda/stream.h"

namespace natrix {

void check_mesh(const ModelConfig& model, const MeshShape& shape) {
  const bool experts = model.stack().find('E') != std::string::npos;
  if (experts && shape.ep > model.moe.num_experts) {
    throw InputError(
        fmt::format("parallel.ep: {} ranks cannot share {} experts; it can be at most model.moe.num_experts",
                    shape.ep, model.moe.num_experts));
  }
}

void check_layout(const ExperimentConfig& config, const MeshShape& shape) {
  check_share(config, shape.dp, shape.cp);
  check_mesh(config.model, shape);
}

RunMesh::RunMesh(const ExperimentConfig& config, Context& ctx, Dtype dtype, Transport* world)
    : RunMesh(config, ctx, dtype, world,
              ctx.backend() == Backend::kCuda ? device_link() : DeviceLink::kStaged) {}

RunMesh::RunMesh(const ExperimentConfig& config, Context& ctx, Dtype dtype, Transport* world,
                 DeviceLink link) {
  if (world == nullptr) {
    mesh_ = std::make_unique<ProcessMesh>();
    group_ = std::make_unique<OneProcess>();
    return;
  }
  world->watch().timeout = config.parallel.timeout;
  mesh_ =
      std::make_unique<ProcessMesh>(settle_mesh(config.parallel, world->size()), *world, ctx.memory(), link);
  group_ = std::make_unique<MeshGroup>(*mesh_, ctx, wide(dtype), config.parallel);
}

std::unique_ptr<RowExchange> RunMesh::exchange() {
  if (shape().ep == 1) return nullptr;
  return std::make_unique<AllToAllExchange>(mesh_->ep());
}

Traffic RunMesh::gradient_traffic() const {
  Traffic t = mesh_->gradients().traffic();
  return t += mesh_->expert_data().traffic();
}

DeviceLink device_link() {
  if constexpr (build::kCuda) {
    if (built_with_nccl() && cuda::device_count() >= launched_ranks_on_host()) return DeviceLink::kNccl;
  }
  return DeviceLink::kStaged;
}

int place_on_host() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}) {
    if (const char* text = std::getenv(name)) return std::max(0, std::atoi(text));
  }
  return 0;
}

int threads_of_a_rank() {
  return std::max(1, available_processors() / launched_ranks_on_host());
}

}  // namespace natrix
