// What a step does on a mesh, counted: the order of the schedule's runs (core/sequence/sweep_order.h), times
// what each of them costs in a dry run (launch/plan/dry_rank.h).
#pragma once

#include <limits>

#include "core/carry/carry_spec.h"
#include "core/sequence/segment_schedule.h"
#include "launch/plan/dry_rank.h"

namespace natrix {

/// Runs of a segment that are alike, in a step of one rank.
struct CountedRuns {
  int64_t count = 0;
  SegmentRun::Entry entry = SegmentRun::Entry::kStart;  // kBoundary … say what a relay waits for
  const RunCost* cost = nullptr;
  bool recorded = false;  // and run backward
};

struct StepCount {
  int64_t micro_batches = 0, segments = 0, forward_runs = 0;
  RankMemory memory;
  std::vector<CommunicationTerm> communication;  // without seconds
  // Of the rank that has most to do.
  std::vector<CountedRuns> runs;
  Ledger update;
  bool exact = true, scans = false;
  bool complete = false;
};

/// The experiment on this mesh: what a run on it would be configured as.
ExperimentConfig on_mesh(const ExperimentConfig& config, const PlannedMesh& mesh);

class StepCounter {
 public:
  /// like: the backend whose memory is counted. kinds: borrowed.
  StepCounter(ExperimentConfig config, Backend like, const LayerKinds& kinds = builtin_layer_kinds());
  ~StepCounter();

  /// InputError where the mesh cannot hold the experiment. What it borrows lives as long as the counter.
  /// Where its memory exceeds `most` bytes the count is not complete, and that is all that it says.
  StepCount count(const PlannedMesh& mesh, int64_t most = std::numeric_limits<int64_t>::max());
  const ExperimentConfig& config() const { return config_; }
  const LayerKinds& kinds() const { return kinds_; }

 private:
  struct Peers;  // ranks with as many experts
  class Step;    // on one mesh

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
