#include "launch/plan/plan.h"

#include <numeric>
#include <utility>

#include "launch/assemble.h"
#include "launch/plan/rank_memory.h"
#include "launch/plan/step_time.h"
#include "launch/plan/traffic.h"
#include "launch/plan/workload.h"

namespace natrix {

double StepPlan::seconds() const {
  return std::accumulate(time.begin(), time.end(), 0.0,
                         [](double sum, const TimeTerm& t) { return sum + t.seconds; });
}

StepPlanner::StepPlanner(ExperimentConfig config, MachineConfig machine)
    : config_(std::move(config)),
      machine_(std::move(machine)),
      needs_(needs_of(*describe_model(config_.model))) {}

StepPlan StepPlanner::plan(const PlannedMesh& mesh) {
  const Workload w = workload_of(config_, needs_, mesh);
  StepPlan plan{.mesh = mesh,
                .micro_batches = w.micro_batches,
                .segments = w.segments,
                .forward_runs = w.forward_runs()};
  plan.communication = count_traffic(w, shares(mesh.shape.ep));
  plan.memory = count_memory(w, shares(mesh.shape.ep), plan.communication, machine_.device.backend);
  plan.time = estimate_time(w, plan.memory, machine_, plan.communication);
  return plan;
}

const std::vector<ModelShare>& StepPlanner::shares(int ep) {
  std::vector<ModelShare>& known = shares_[ep];
  if (known.empty()) known = model_shares(config_.model, ep);
  return known;
}

}  // namespace natrix
