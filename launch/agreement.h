// What all ranks of a run must have in common before they begin.
#pragma once

#include "core/ranks/collectives.h"
#include "core/text/batches.h"
#include "launch/experiment.h"

namespace natrix {

/// Ranks that run another program, have other settings or read other data would train on nothing that makes
/// sense. Collective. InputError on a rank that differs from rank 0, saying in what. When it returns, every
/// rank has opened its files and looked at the run directory as it was.
void require_agreement(const Experiment& experiment, const BatchSource& data, Collectives& world,
                       Context& ctx);

/// One of the things that ranks must agree on.
struct Agreed {
  std::string what, mine;  // its name in the message, and this rank's text or hash of it
  std::string remedy;
};
/// The same for any other list, besides the program, which always comes first.
void require_agreement(const std::vector<Agreed>& list, Collectives& world, Context& ctx);

}  // namespace natrix
