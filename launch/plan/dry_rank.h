// DryRank: runs one rank's model dry and counts what one run of a segment costs, and what the rest of a step
// costs. The layers, routes and row exchange are those of a real step. Each kind of run is run only once.
#pragma once

#include <map>

#include "distributed/counting_communicator.h"
#include "distributed/process_mesh.h"
#include "launch/assemble.h"
#include "launch/plan/plan.h"

namespace natrix {

/// The properties of a run that decide its cost.
struct RunKey {
  /// Where the states (or their gradients) that the run enters with come from. kNone: there are none. kFirst:
  /// it is the first segment of a sweep. kNext: the previous segment left them. kAlone: its own boundary,
  /// without messages to other ranks.
  enum class Entry { kNone, kFirst, kNext, kAlone };

  int64_t rows = 1, tokens = 1;
  bool recorded = false;  // recorded and then run backward; otherwise passed over
  Visit visit = Visit::kFirst;
  Entry states = Entry::kNone, gradients = Entry::kNone;
  int64_t history = 0;  // tokens whose keys and values precede the run; 0 for a model without attention
  auto operator<=>(const RunKey&) const = default;
};

/// The work of a layer from entering with a state to leaving one for the next segment.
struct Hop {
  Ledger work;
  int64_t bytes = 0;  // of the state
};

/// The cost of a run in one direction.
struct RunPart {
  Ledger work;
  CountingCommunicator::Count choices, rows;  // between the owners of experts
  CountingCommunicator::Count maps;           // along cp, with cp_link: scan
  std::vector<CountingCommunicator::Overlap> overlaps;
  std::vector<Hop> hops;  // without duplicates
  int64_t meetings = 0;   // row exchanges with an enter() since the exchange before
};

struct RunCost {
  RunPart forward, backward;
  Ledger head;
  int64_t arena = 0;  // the arena's peak in bytes
};

/// The cost of a step without the runs of its segments.
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
  /// rank: its index in the mesh. like: the backend whose memory is counted.
  DryRank(const ExperimentConfig& config, const LayerKinds& kinds, const MeshShape& shape, int rank,
          Backend like);

  const RunCost& run(const RunKey& key);
  /// shape, rank: a mesh and a rank that owns the same experts as this one.
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
  size_t figures_ = 0;  // size of the tally
  std::map<RunKey, RunCost> runs_;
};

}  // namespace natrix
