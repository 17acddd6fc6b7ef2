// Ranks: this process among the ranks of a run. Four narrow interfaces, of which each consumer takes the ones
// that it uses; distributed/mesh_ranks.h implements them for several processes, OneProcess for one.
#pragma once

#include "core/ranks/carry_axis.h"
#include "core/ranks/collectives.h"
#include "core/ranks/gradient_sync.h"
#include "core/ranks/placement.h"
#include "core/ranks/rank_share.h"

namespace natrix {

/// Borrowed from whoever made them.
struct Ranks {
  RankShare share;  // the rows and tokens of a step that are this rank's
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
