#include "distributed/process_mesh.h"

#include <fmt/format.h>
#include <string>
#include <vector>

#include "distributed/counting_communicator.h"
#include "distributed/nccl_communicator.h"
#include "distributed/rank_communicator.h"
#include "distributed/staged_communicator.h"

namespace natrix {
namespace {

std::string divisors_of(int64_t n) {
  std::vector<int64_t> all;
  for (int64_t d = 1; d <= n; ++d) {
    if (n % d == 0) all.push_back(d);
  }
  return fmt::format("{}", fmt::join(all, ", "));
}

}  // namespace

MeshShape settle_mesh(const ParallelConfig& asked, int ranks) {
  if (ranks % asked.cp != 0) {
    throw InputError(
        fmt::format("parallel.cp: {} does not divide the {} rank{} that were started; it can be {}, or start "
                    "a multiple of {} ranks: "
                    "mpirun -n {} natrix …",
                    asked.cp, ranks, ranks == 1 ? "" : "s", divisors_of(ranks), asked.cp,
                    (ranks / asked.cp + 1) * asked.cp));
  }
  const int64_t dp = asked.dp.value_or(ranks / asked.cp);
  if (dp * asked.cp != ranks) {
    throw InputError(fmt::format(
        "parallel: dp {} x cp {} is {} ranks, but {} {} started; start mpirun -n {} natrix …, or set dp to "
        "{} "
        "or auto",
        dp, asked.cp, dp * asked.cp, ranks, ranks == 1 ? "was" : "were", dp * asked.cp, ranks / asked.cp));
  }
  if (ranks % asked.ep != 0) {
    throw InputError(
        fmt::format("parallel.ep: {} does not divide dp x cp = {} ranks, over which experts are spread; it "
                    "can be {}",
                    asked.ep, ranks, divisors_of(ranks)));
  }
  return {.dp = static_cast<int>(dp), .cp = static_cast<int>(asked.cp), .ep = static_cast<int>(asked.ep)};
}

ProcessMesh::ProcessMesh()
    : world_(std::make_unique<LocalCommunicator>()),
      gradients_(std::make_unique<LocalCommunicator>()),
      cp_(std::make_unique<LocalCommunicator>()),
      cp_backward_(std::make_unique<LocalCommunicator>()),
      ep_(std::make_unique<LocalCommunicator>()),
      expert_data_(std::make_unique<LocalCommunicator>()) {}

ProcessMesh::ProcessMesh(MeshShape shape, Transport& world, Memory memory, DeviceLink link)
    : shape_(shape), watched_(world.split(0, "watch")) {
  require(world.size() == shape.ranks() && shape.ranks() % shape.ep == 0,
          "a mesh of another size than its world");
  const int rank = world.rank();
  const auto axis = [&](int colour, const char* name) -> std::unique_ptr<Communicator> {
    std::unique_ptr<Transport> transport = world.split(colour, name);
    if (memory == Memory::kDevice && link == DeviceLink::kNccl && transport->size() > 1) {
      return make_nccl_communicator(std::move(transport), name);
    }
    auto ranks = std::make_unique<RankCommunicator>(std::move(transport));
    if (memory == Memory::kHost) return ranks;
    return std::make_unique<StagedCommunicator>(std::move(ranks));
  };
  world_ = axis(0, "world");
  gradients_ = axis(0, "gradients");
  cp_ = axis(rank / shape.cp, "cp");
  cp_backward_ = axis(rank / shape.cp, "cp, backwards");
  ep_ = axis(rank / shape.ep, "ep");
  expert_data_ = axis(rank % shape.ep, "expert_data");
}

ProcessMesh::ProcessMesh(MeshShape shape, int rank) : shape_(shape) {
  const auto axis = [](int place, int size) { return std::make_unique<CountingCommunicator>(place, size); };
  world_ = axis(rank, shape.ranks());
  gradients_ = axis(rank, shape.ranks());
  cp_ = axis(rank % shape.cp, shape.cp);
  cp_backward_ = axis(rank % shape.cp, shape.cp);
  ep_ = axis(rank % shape.ep, shape.ep);
  expert_data_ = axis(rank / shape.ep, shape.ranks() / shape.ep);
}

ProcessMesh::~ProcessMesh() = default;

std::vector<const Communicator*> ProcessMesh::axes() const {
  return {world_.get(), gradients_.get(), cp_.get(), cp_backward_.get(), ep_.get(), expert_data_.get()};
}

Traffic ProcessMesh::traffic() const {
  Traffic sum;
  for (const Communicator* axis : axes()) sum += axis->traffic();
  return sum;
}

int64_t ProcessMesh::scratch_bytes() const {
  int64_t sum = 0;
  for (const Communicator* axis : axes()) sum += axis->scratch_bytes();
  return sum;
}

void ProcessMesh::set_step(int64_t step) {
  if (watched_) watched_->watch().step = step;
}

}  // namespace natrix
