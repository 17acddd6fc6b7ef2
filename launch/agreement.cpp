#include "launch/agreement.h"

#include <fmt/format.h>

#include "core/io/xxhash64.h"

namespace natrix {

void require_agreement(const Experiment& experiment, const BatchSource& data, RankGroup& group,
                       Context& ctx) {
  if (group.size() == 1) return;
  const auto same = [&](const std::string& what, const std::string& mine, const std::string& remedy) {
    if (group.from_first(ctx, mine) == mine) return;
    throw InputError(fmt::format("{} of this rank is another than rank 0's; {}", what, remedy));
  };
  same("the program", hash_file("/proc/self/exe"), "install the same build on every host");
  same("the configuration", to_yaml(experiment.loaded, false),
       "start all ranks with the same files and flags");
  const std::string key = experiment.config.data.batches.empty() ? "data.train" : "data.batches";
  same("what " + key + " names on the host", data.identity(), "give all hosts the same files");
  group.largest(ctx, 0);  // rank 0 has compared itself with itself: it waits for the others before it writes
}

}  // namespace natrix
