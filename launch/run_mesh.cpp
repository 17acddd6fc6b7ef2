#include "launch/run_mesh.h"

#include <algorithm>
#include <fmt/format.h>

#include "distributed/all_to_all_exchange.h"
#include "distributed/mesh_group.h"
#include "distributed/mpi_communicator.h"

namespace natrix {

void check_mesh(const ModelConfig& model, bool on_cuda, const MeshShape& shape) {
  if (on_cuda && shape.ranks() > 1) {
    throw InputError(
        "device.backend: cuda works in one process only, so far: ranks exchange what lies with the host; use "
        "cpu");
  }
  const bool experts = model.stack().find('E') != std::string::npos;
  if (experts && shape.ep > model.moe.num_experts) {
    throw InputError(
        fmt::format("parallel.ep: {} ranks cannot share {} experts; it can be at most model.moe.num_experts",
                    shape.ep, model.moe.num_experts));
  }
}

void check_layout(const ExperimentConfig& config, const MeshShape& shape) {
  check_share(config, shape.dp, shape.cp);
  check_mesh(config.model, config.device.backend == DeviceBackend::kCuda, shape);
}

RunMesh::RunMesh(const ExperimentConfig& config, Context& ctx, Dtype dtype, Transport* world) {
  if (world == nullptr) {
    mesh_ = std::make_unique<ProcessMesh>();
    group_ = std::make_unique<OneProcess>();
    return;
  }
  world->watch().timeout = config.parallel.timeout;
  mesh_ = std::make_unique<ProcessMesh>(settle_mesh(config.parallel, world->size()), *world);
  group_ = std::make_unique<MeshGroup>(*mesh_, ctx, dtype, config.parallel.cp_link);
}

std::unique_ptr<RowExchange> RunMesh::exchange() {
  if (shape().ep == 1) return nullptr;
  return std::make_unique<AllToAllExchange>(mesh_->ep());
}

int threads_of_a_rank() {
  return std::max(1, available_processors() / launched_ranks_on_host());
}

}  // namespace natrix
