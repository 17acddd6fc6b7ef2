// Ranks: the ranks of a run, as this process sees them. There are four narrow interfaces, so that consumers
// depend only on those that they use. distributed/mesh_ranks.h implements them for several processes;
// OneProcess implements them for one.
#pragma once

#include "core/ranks/carry_axis.h"
#include "core/ranks/collectives.h"
#include "core/ranks/gradient_sync.h"
#include "core/ranks/placement.h"
#include "core/ranks/rank_share.h"

namespace natrix {

/// All references are borrowed.
struct Ranks {
  RankShare share;  // the rows and tokens of a step that this rank runs
  Collectives& world;
  CarryAxis& carry;
  GradientSync& gradients;
  Placement& placement;
};

class OneProcess {
 public:
  Ranks ranks() {
    return {.share = {}, .world = world_, .carry = carry_, .gradients = gradients_, .placement = placement_};
  }

 private:
  OneRank world_;
  LocalCarry carry_;
  LocalGradients gradients_;
  AllHere placement_;
};

}  // namespace natrix
