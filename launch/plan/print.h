// Prints plans as text and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "launch/plan/search.h"

namespace natrix {

/// The experiment that was planned, and the plans.
struct PlanReport {
  std::string config_path;
  const ExperimentConfig& config;
  const MachineConfig& machine;
  const LayerKinds& kinds;
  int64_t ranks = 0;
  PlanSearch search;
  int64_t fits_from = 0;  // if nothing fits on `ranks`: a larger number of ranks on which a plan fits; or 0
};

/// Prints the first `top` plans as a table, then memory, time and communication of the first plan.
void print_plans(const PlanReport& report, int64_t top);
nlohmann::ordered_json plans_json(const PlanReport& report, int64_t top);

}  // namespace natrix
