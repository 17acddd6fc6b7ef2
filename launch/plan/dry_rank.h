// One rank's model, run dry: what one run of a segment costs, and what the rest of a step does. The layers,
// the routes and the exchange of rows are those of a step; a run that was asked for before is not run again.
#pragma once

#include <map>

#include "distributed/counting_communicator.h"
#include "distributed/process_mesh.h"
#include "launch/assemble.h"
#include "launch/plan/plan.h"

namespace natrix {

/// What a run's cost depends on.
struct RunKey {
  /// States, or their gradients, that it enters with: none; of the first segment of a sweep; of the one
  /// before; its own boundary's, without a word to other ranks.
  enum class Entry { kNone, kFirst, kNext, kAlone };

  int64_t rows = 1, tokens = 1;
  bool recorded = false;  // and then run backward; else passed over
  Visit visit = Visit::kFirst;
  Entry states = Entry::kNone, gradients = Entry::kNone;
  auto operator<=>(const RunKey&) const = default;
};

/// From entering a layer with a state to leaving one for the segment behind.
struct Hop {
  Ledger work;
  int64_t bytes = 0;  // of the state
};

/// Of a run in one direction.
struct RunPart {
  Ledger work;
  CountingCommunicator::Count choices, rows, maps;  // between owners of experts; along cp_link: scan
  std::vector<CountingCommunicator::Overlap> overlaps;
  std::vector<Hop> hops;  // each sort once
  int64_t meetings = 0;  // exchanges of rows that a carried state was entered with before, since the last one
};

struct RunCost {
  RunPart forward, backward;
  Ledger head;
  int64_t arena = 0;  // bytes at its peak
};

/// All of a step but the runs of its segments.
struct RestCost {
  int64_t weights = 0, gradients = 0, optimizer = 0, rounded = 0, sums = 0;  // bytes, as in RankMemory
  Ledger update;
  struct Term {
    const char* name;
    MeshAxis axis;
    CountingCommunicator::Count count;
    bool behind_backward = false;
  };
  std::vector<Term> terms;
};

class DryRank {
 public:
  /// rank: of the mesh. like: the backend whose memory is counted.
  DryRank(const ExperimentConfig& config, const LayerKinds& kinds, const MeshShape& shape, int rank,
          Backend like);

  const RunCost& run(const RunKey& key);
  /// On a mesh where this rank has the same experts.
  RestCost rest(const MeshShape& shape, int rank);

 private:
  RunCost measure(const RunKey& key);
  void take_part(RunPart& part, const Ledger& before);
  Ledger head_work(const RunKey& key);
  CountingCommunicator& axis(Communicator& c) const { return static_cast<CountingCommunicator&>(c); }

  ExperimentConfig config_;
  Context ctx_;
  ProcessMesh mesh_;
  AssembledModel model_;
  size_t figures_ = 0;  // of the tally
  std::map<RunKey, RunCost> runs_;
};

}  // namespace natrix
