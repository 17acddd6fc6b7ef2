// What a step of training costs a rank: memory, communication, time. Memory, bytes and messages are counted
// in a dry run of the step (launch/plan/step_count.h), and tests/launch/plan/plan_test.cpp holds them to
// measured steps. Times are estimates from the counted work and the machine's figures (docs/planning.md).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "configs/schema/experiment.h"
#include "configs/schema/machine.h"
#include "distributed/process_mesh.h"
#include "launch/layer_kinds.h"
#include "launch/run_mesh.h"

namespace natrix {

struct PlannedMesh {
  MeshShape shape;
  CarryLinkKind cp_link = CarryLinkKind::kRelay;
  int64_t micro_batch = 1;  // rows that a rank processes at once
  int64_t chunk = 1;        // tokens of each of those rows that a rank processes at once
};

/// Bytes per kind of memory, each the maximum over ranks.
struct RankMemory {
  int64_t weights = 0, gradients = 0, optimizer = 0;
  int64_t rounded = 0;      // copies of weights in bf16
  int64_t activations = 0;  // the arena's peak; most scratch of kernels is not included
  int64_t boundaries = 0;   // boundary states held at once
  int64_t carried = 0;      // states in flight between segments and between ranks
  int64_t keys_values = 0;  // rows of append carries and their gradients: the whole sequence
  int64_t sums = 0;         // receive buffers of sums over ranks
  int64_t total() const {
    return weights + rounded + gradients + optimizer + activations + boundaries + carried + keys_values +
           sums;
  }
};

/// A group of ranks that communicate (distributed/process_mesh.h). kCpBackward: the ranks of kCp, for
/// messages that go against the order of the sequence.
enum class MeshAxis { kWorld, kGradients, kCp, kCpBackward, kEp, kExpertData };

/// The number of ranks in one group of this axis.
int64_t axis_size(const MeshShape& shape, MeshAxis axis);

/// One kind of communication. Bytes and messages are sums over all ranks.
struct CommunicationTerm {
  std::string name;
  MeshAxis axis = MeshAxis::kWorld;
  int64_t bytes = 0, messages = 0;
  int64_t calls = 0;             // exchanges that a rank waits for, one after the other
  double seconds = 0;            // what it adds to the time of the step
  bool behind_backward = false;  // overlaps with the backward run of the last segment
};

/// One kind of work or of waiting in a step.
struct TimeTerm {
  std::string name;
  double seconds = 0;
  std::string bound;  // what limits it: "flops", "exponentials", "memory", "node link", "network", …
};

struct StepPlan {
  PlannedMesh mesh;
  int64_t micro_batches = 0, segments = 0;  // per rank; segments of one micro-batch
  int64_t forward_runs = 0;                 // of segments, per rank, including repeated runs
  RankMemory memory;
  std::vector<CommunicationTerm> communication;
  std::vector<TimeTerm> time;  // longest first

  double seconds() const;
};

class StepCounter;

class StepPlanner {
 public:
  /// The mesh of `config` does not matter. kinds: borrowed.
  StepPlanner(const ExperimentConfig& config, MachineConfig machine,
              const LayerKinds& kinds = builtin_layer_kinds());
  ~StepPlanner();

  /// InputError if this mesh cannot run this experiment (launch/run_mesh.h), or if the machine lacks a link
  /// that the mesh needs.
  StepPlan plan(const PlannedMesh& mesh);
  /// The same for plans that fit into the machine's memory. For others the plan has no time, and its memory
  /// is a lower bound that already exceeds the machine's.
  StepPlan plan_if_it_fits(const PlannedMesh& mesh);
  const ExperimentConfig& config() const;
  const MachineConfig& machine() const { return machine_; }
  const LayerKinds& kinds() const;

 private:
  StepPlan plan(const PlannedMesh& mesh, int64_t most_memory);

  MachineConfig machine_;
  std::unique_ptr<StepCounter> counter_;
};

}  // namespace natrix
