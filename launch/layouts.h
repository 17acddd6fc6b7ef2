// Runs a training step under several layouts, with ranks as threads of one process, for natrix verify.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/text/batches.h"
#include "kernels/base/buffer.h"
#include "launch/experiment.h"
#include "launch/run_mesh.h"

namespace natrix {

/// Parses "dp2", "cp4", "dp2cp2ep4", "cp2scan": the ranks of each axis. An axis that is not named has one
/// rank, except that dp gets as many as ep needs. InputError if the text is not a layout.
ParallelConfig parse_layout(const std::string& text);

/// InputError if the experiment cannot be divided like that.
void check_layout(const ExperimentConfig& config, const MeshNeeds& needs, const ParallelConfig& parallel);

/// InputError "OVERRIDE: instead" if an override sets the mesh, for commands that would ignore it.
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
