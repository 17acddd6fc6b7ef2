// All meshes that so many ranks can be, and those that are worth a look.
#pragma once

#include "launch/plan/plan.h"

namespace natrix {

struct PlanSearch {
  std::vector<StepPlan>
      plans;            // those that fit, fastest first; then the others, that which needs least first
  int64_t fitting = 0;  // of them
};

/// Every dp × cp, ep, link and micro-batch that divides, with sequence.chunk, or with a shorter chunk where
/// that does not fit. InputError where no mesh divides, with numbers of ranks that do.
PlanSearch search_plans(StepPlanner& planner, int64_t ranks);

/// The same, of one shape of the mesh and one link.
PlanSearch search_plans(StepPlanner& planner, const MeshShape& shape, CarryLinkKind link);

}  // namespace natrix
