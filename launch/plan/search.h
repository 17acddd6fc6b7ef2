// Searches all meshes of a number of ranks for the fastest plan.
#pragma once

#include "launch/plan/plan.h"

namespace natrix {

struct PlanSearch {
  std::vector<StepPlan> plans;  // those that fit, fastest first; then the others, smallest memory first
  int64_t fitting = 0;          // the number of plans that fit
};

/// Tries every dp × cp, ep, link and micro-batch that divides the experiment. The chunk is sequence.chunk, or
/// a shorter one if that does not fit. InputError if no mesh divides the experiment; the message names
/// numbers of ranks that do.
PlanSearch search_plans(StepPlanner& planner, int64_t ranks);

/// The same for one mesh shape and one link.
PlanSearch search_plans(StepPlanner& planner, const MeshShape& shape, CarryLinkKind link);

}  // namespace natrix
