// What a step of training costs a rank: memory, communication, time. Pure functions of the experiment, a mesh
// and a machine; docs/planning.md has the formulas. Bytes, messages and memory are those of the program as it
// is, and tests/launch/plan_test.cpp holds them to measured steps; times are estimates from the machine's
// figures.
//
//   D d_model, I d_inner, N d_state, K d_conv, R dt_rank, E experts, k top_k, V vocabulary
//   P ranks, S segments a rank runs a row in, m rows in memory at once
#pragma once

#include <string>
#include <vector>

#include "configs/experiment.h"
#include "configs/machine.h"
#include "distributed/process_mesh.h"

namespace natrix {

enum class AllReduce { kDirect, kTwoLevel };

/// What the plan takes for granted. The defaults are what the program does today.
struct PlanOptions {
  DeviceDtype dtype = DeviceDtype::kFp32;
  int zero = 0;  // 1: optimizer state is shared out over the ranks that hold a weight
  AllReduce all_reduce = AllReduce::kDirect;  // two-level: inside of the nodes first, then between them
};

struct PlannedMesh {
  MeshShape shape;
  CarryLinkKind cp_link = CarryLinkKind::kRelay;
  int64_t micro_batch = 1;  // rows that a rank has in memory at once
};

/// Bytes on the rank that holds most.
struct RankMemory {
  int64_t weights = 0, gradients = 0, optimizer = 0;
  int64_t activations = 0;  // the arena at its peak; kernels' own scratch comes on top
  int64_t boundaries = 0;   // boundary states held at once
  int64_t carried = 0;      // states on their way from segment to segment, and from rank to rank
  int64_t total() const { return weights + gradients + optimizer + activations + boundaries + carried; }
};

/// One kind of communication. Bytes and messages of all ranks together: ranks differ by a message or two.
struct CommunicationTerm {
  std::string name;
  int64_t bytes = 0, messages = 0;
  int64_t calls = 0;   // collectives, or rounds of messages, that a rank waits for one after another
  double seconds = 0;  // that they add to the step
};

/// One kind of work, or of waiting, of the step.
struct TimeTerm {
  std::string name;
  double seconds = 0;
  std::string bound;  // "compute", "memory", "node link", "network", "latency"
};

struct StepPlan {
  PlannedMesh mesh;
  int64_t micro_batches = 0, segments = 0;
  int64_t forward_runs =
      0;  // of a segment, over all micro-batches: more than segments where some are run again
  RankMemory memory;
  std::vector<CommunicationTerm> communication;
  std::vector<TimeTerm> time;

  double seconds() const;
  const TimeTerm& binding() const;  // what takes longest
  const CommunicationTerm& term(const std::string& name) const;
};

/// InputError where this mesh cannot hold this experiment (launch/run_mesh.h), or the machine has no such
/// link.
StepPlan plan_step(const ExperimentConfig& config, const PlannedMesh& mesh, const PlanOptions& options,
                   const MachineConfig& machine);

/// What of this plan the program cannot do yet, a line each.
std::vector<std::string> not_there_yet(const PlanOptions& options, const MachineConfig& machine);

}  // namespace natrix
