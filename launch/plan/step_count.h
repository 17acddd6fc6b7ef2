// Counts the work, memory and messages of a step on a mesh. The order of runs comes from SweepOrder
// (core/sequence/sweep_order.h); the cost of each run comes from a dry run (launch/plan/dry_rank.h).
#pragma once

#include <limits>

#include "core/carry/carry_spec.h"
#include "core/sequence/segment_schedule.h"
#include "launch/plan/dry_rank.h"

namespace natrix {

/// Runs of segments that cost the same, in one step of one rank.
struct CountedRuns {
  int64_t count = 0;
  SegmentRun::Entry entry = SegmentRun::Entry::kStart;  // decides what a relay waits for
  const RunCost* cost = nullptr;
  bool recorded = false;  // and then run backward
};

struct StepCount {
  int64_t micro_batches = 0, segments = 0, forward_runs = 0;
  RankMemory memory;
  std::vector<CommunicationTerm> communication;  // without seconds
  // The next two are of the rank with the most work.
  std::vector<CountedRuns> runs;
  Ledger update;
  bool exact = true, scans = false;
  bool complete = false;  // false: counting stopped because memory exceeded the limit
};

/// The configuration of a run of the experiment on this mesh.
ExperimentConfig on_mesh(const ExperimentConfig& config, const PlannedMesh& mesh);

class StepCounter {
 public:
  /// like: the backend whose memory is counted. kinds: borrowed.
  StepCounter(ExperimentConfig config, Backend like, const LayerKinds& kinds = builtin_layer_kinds());
  ~StepCounter();

  /// InputError if the mesh cannot run the experiment. The result points into the counter, which must outlive
  /// it. If memory exceeds `most` bytes, counting stops: `complete` is false, `memory` is a lower bound, and
  /// `communication`, `runs` and `update` are missing.
  StepCount count(const PlannedMesh& mesh, int64_t most = std::numeric_limits<int64_t>::max());
  const ExperimentConfig& config() const { return config_; }
  const LayerKinds& kinds() const { return kinds_; }

 private:
  struct Peers;  // ranks that own the same number of experts
  class Step;    // a step on one mesh

  DryRank& rank(const ExperimentConfig& config, const MeshShape& shape, int rank);
  const RestCost& rest(DryRank& dry, const MeshShape& shape, int rank);

  ExperimentConfig config_;
  Backend like_;
  const LayerKinds& kinds_;
  MeshNeeds needs_;
  std::map<std::vector<int64_t>, std::unique_ptr<DryRank>> ranks_;
  std::map<std::vector<int64_t>, RestCost> rests_;
};

}  // namespace natrix
