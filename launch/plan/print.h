// Plans as people read them, and as scripts do.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "launch/plan/search.h"

namespace natrix {

/// What was asked, and what came out.
struct PlanReport {
  std::string config_path;
  const ExperimentConfig& config;
  const MachineConfig& machine;
  const LayerKinds& kinds;
  int64_t ranks = 0;
  PlanSearch search;
  int64_t fits_from = 0;  // where nothing fits: a number of ranks, `ranks` doubled so often, that does; or 0
};

/// The `top` first plans as a table; memory, time and communication of the first.
void print_plans(const PlanReport& report, int64_t top);
nlohmann::ordered_json plans_json(const PlanReport& report, int64_t top);

}  // namespace natrix
