#include "launch/plan/plan.h"

#include <limits>
#include <numeric>
#include <utility>

#include "launch/plan/step_time.h"

namespace natrix {
namespace {

Backend backend_of(const MachineConfig& machine) {
  switch (machine.device.backend) {
    case DeviceBackend::kCuda: return Backend::kCuda;
    case DeviceBackend::kReference: return Backend::kReference;
    default: return Backend::kCpu;
  }
}

const ExperimentConfig& checked(const ExperimentConfig& config, const LayerKinds& kinds) {
  const std::string missing = kinds.without_bf16(config.model.pattern);
  if (config.device.dtype == DeviceDtype::kBf16 && !missing.empty()) {
    throw InputError("device.dtype: bf16 is not planned for layers that compute in fp32 only: " + missing +
                     "; set device.dtype=fp32");
  }
  return config;
}

}  // namespace

double StepPlan::seconds() const {
  return std::accumulate(time.begin(), time.end(), 0.0,
                         [](double sum, const TimeTerm& t) { return sum + t.seconds; });
}

StepPlanner::StepPlanner(const ExperimentConfig& config, MachineConfig machine, const LayerKinds& kinds)
    : machine_(std::move(machine)),
      counter_(std::make_unique<StepCounter>(checked(config, kinds), backend_of(machine_), kinds)) {}

StepPlanner::~StepPlanner() = default;

const ExperimentConfig& StepPlanner::config() const {
  return counter_->config();
}

const LayerKinds& StepPlanner::kinds() const {
  return counter_->kinds();
}

StepPlan StepPlanner::plan(const PlannedMesh& mesh) {
  return plan(mesh, std::numeric_limits<int64_t>::max());
}

StepPlan StepPlanner::plan_if_it_fits(const PlannedMesh& mesh) {
  return plan(mesh, machine_.usable_bytes());
}

StepPlan StepPlanner::plan(const PlannedMesh& mesh, int64_t most_memory) {
  StepCount step = counter_->count(mesh, most_memory);
  StepPlan plan{.mesh = mesh,
                .micro_batches = step.micro_batches,
                .segments = step.segments,
                .forward_runs = step.forward_runs,
                .memory = step.memory,
                .communication = {},
                .time = {}};
  if (!step.complete) return plan;
  plan.time = estimate_time(mesh.shape, step, config().device.dtype, machine_);
  plan.communication = std::move(step.communication);
  return plan;
}

}  // namespace natrix
