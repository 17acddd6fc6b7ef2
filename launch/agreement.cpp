#include "launch/agreement.h"

#include <fmt/format.h>

#include "core/files/xxhash64.h"

namespace natrix {
namespace {

void require_same(const Agreed& a, Collectives& world, Context& ctx) {
  if (world.broadcast(ctx, 0, a.mine) == a.mine) return;
  throw InputError(fmt::format("{} of this rank is another than rank 0's; {}", a.what, a.remedy));
}

}  // namespace

void require_agreement(const std::vector<Agreed>& list, Collectives& world, Context& ctx) {
  if (world.size() == 1) return;
  require_same({"the program", hash_file("/proc/self/exe"), "install the same build on every host"}, world,
               ctx);
  for (const Agreed& a : list) require_same(a, world, ctx);
  world.barrier(ctx);  // rank 0 always agrees with itself, so it waits here for the others
}

void require_agreement(const Experiment& experiment, const BatchSource& data, Collectives& world,
                       Context& ctx) {
  if (world.size() == 1) return;  // hashing files takes a moment
  const std::string key = experiment.config.data.batches.empty() ? "data.train" : "data.batches";
  require_agreement(
      {{"the configuration", to_yaml(experiment.loaded, false),
        "start all ranks with the same files and flags"},
       {"what " + key + " names on the host", data.identity(), "give all hosts the same files"}},
      world, ctx);
}

}  // namespace natrix
