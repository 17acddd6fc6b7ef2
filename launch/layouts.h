// A step of training under several layouts, as threads of one process, for natrix verify.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/text/batches.h"
#include "kernels/base/buffer.h"
#include "launch/experiment.h"
#include "launch/run_mesh.h"

namespace natrix {

/// "dp2", "cp4", "dp2cp2ep4", "cp2scan": ranks of each axis, 1 where it is not named, but as many dp ranks as
/// ep needs. InputError where the text is no layout.
ParallelConfig parse_layout(const std::string& text);

/// InputError where the experiment cannot be shared out like that.
void check_layout(const ExperimentConfig& config, const MeshNeeds& needs, const ParallelConfig& parallel);

/// InputError "OVERRIDE: instead" for an override of the mesh, on behalf of a command that would ignore it.
void refuse_mesh_overrides(const std::vector<std::string>& overrides, const std::string& instead);

struct LayoutStep {
  double loss = 0;
  int64_t bytes_sent = 0;                   // by all ranks together
  std::map<std::string, Buffer> gradients;  // by parameter, whole
};

/// The first step of the experiment, shared out over `parallel`'s ranks, each a thread.
LayoutStep step_under_layout(const Experiment& experiment, const ParallelConfig& parallel,
                             const BatchSource& data);

}  // namespace natrix
