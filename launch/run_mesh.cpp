#include "launch/run_mesh.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>

#include "distributed/all_to_all_exchange.h"
#include "distributed/mpi_communicator.h"
#include "distributed/nccl_communicator.h"
#include "kernels/base/build.h"
#include "kernels/cuda/stream.h"

namespace natrix {

namespace {

DeviceLink link_here([[maybe_unused]] const ParallelConfig& parallel) {
  if constexpr (build::kCuda) {
    return device_link(cuda::device_count(), launched_ranks_on_host(), built_with_nccl(),
                       parallel.share_gpus);
  }
  return DeviceLink::kStaged;
}

}  // namespace

MeshNeeds needs_of(const Model& model) {
  return {.carries = model.carries(), .experts = model.experts(), .needs_tally = model.needs_tally()};
}

void check_mesh(const MeshNeeds& needs, const MeshShape& shape) {
  if (needs.experts > 0 && shape.ep > needs.experts) {
    throw InputError(
        fmt::format("parallel.ep: {} ranks cannot share {} experts; it can be at most model.moe.num_experts",
                    shape.ep, needs.experts));
  }
}

void check_layout(const ExperimentConfig& config, const MeshNeeds& needs, const MeshShape& shape) {
  check_share(config, needs.carries, shape.dp, shape.cp);
  check_mesh(needs, shape);
}

RunMesh::RunMesh(const ExperimentConfig& config, Context& ctx, Transport* world)
    : RunMesh(config, ctx, world,
              ctx.backend() == Backend::kCuda ? link_here(config.parallel) : DeviceLink::kStaged) {}

RunMesh::RunMesh(const ExperimentConfig& config, Context& ctx, Transport* world, DeviceLink link) {
  if (world == nullptr) {
    mesh_ = std::make_unique<ProcessMesh>();
    return;
  }
  world->watch().timeout = config.parallel.timeout;
  mesh_ = std::make_unique<ProcessMesh>(settle_mesh(config.parallel, world->size()), *world, ctx.memory(),
                                        agreed_link(*world, link));
  mesh_ranks_ = std::make_unique<MeshRanks>(*mesh_, ctx, config.parallel);
}

std::unique_ptr<RowExchange> RunMesh::exchange() {
  if (shape().ep == 1) return nullptr;
  return std::make_unique<AllToAllExchange>(mesh_->ep());
}

Traffic RunMesh::gradient_traffic() const {
  Traffic t = mesh_->gradients().traffic();
  return t += mesh_->expert_data().traffic();
}

DeviceLink device_link(int gpus, int ranks, bool nccl, bool share) {
  if (gpus >= ranks) return nccl ? DeviceLink::kNccl : DeviceLink::kStaged;
  if (!share) {
    throw InputError(fmt::format(
        "device.backend: cuda: {} ranks were started on this machine, which has {} GPU{}; start "
        "at most {} here, or set parallel.share_gpus=true, with which ranks share a GPU and talk by way "
        "of the host",
        ranks, gpus, gpus == 1 ? "" : "s", gpus));
  }
  return DeviceLink::kStaged;
}

DeviceLink agreed_link(Transport& world, DeviceLink mine) {
  const std::vector<int> links = world.everyones(static_cast<int>(mine));
  return std::ranges::count(links, static_cast<int>(DeviceLink::kNccl)) == world.size() ? DeviceLink::kNccl
                                                                                        : DeviceLink::kStaged;
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
