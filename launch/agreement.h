// Checks before a run begins that all its ranks agree.
#pragma once

#include "core/ranks/collectives.h"
#include "core/text/batches.h"
#include "launch/experiment.h"

namespace natrix {

/// Checks that all ranks run the same program with the same settings and data. Collective. A rank that
/// differs from rank 0 throws InputError, which says in what. When this returns, every rank has opened its
/// files and has read the run directory in its earlier state.
void require_agreement(const Experiment& experiment, const BatchSource& data, Collectives& world,
                       Context& ctx);

/// One item that ranks must agree on.
struct Agreed {
  std::string what, mine;  // its name in the message, and this rank's text or hash of it
  std::string remedy;
};
/// The same for any list of items. The program is always checked first.
void require_agreement(const std::vector<Agreed>& list, Collectives& world, Context& ctx);

}  // namespace natrix
