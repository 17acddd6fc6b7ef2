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
  int64_t micro_batch = 1;  // rows that a rank has in memory at once
  int64_t chunk = 1;        // tokens of a row that it has
};

/// Bytes on the rank that holds most.
struct RankMemory {
  int64_t weights = 0, gradients = 0, optimizer = 0;
  int64_t rounded = 0;      // copies of weights in bf16
  int64_t activations = 0;  // the arena at its peak; most of kernels' own scratch comes on top
  int64_t boundaries = 0;   // boundary states held at once
  int64_t carried = 0;      // states on their way from segment to segment, and from rank to rank
  int64_t sums = 0;         // what other ranks sent to be summed
  int64_t total() const {
    return weights + rounded + gradients + optimizer + activations + boundaries + carried + sums;
  }
};

/// The ranks that talk (distributed/process_mesh.h). What travels backwards in time has lines of its own.
enum class MeshAxis { kWorld, kGradients, kCp, kCpBackward, kEp, kExpertData };

/// Ranks of a line of the mesh.
int64_t axis_size(const MeshShape& shape, MeshAxis axis);

/// One kind of communication. Bytes and messages of all ranks together: ranks differ by a message or two.
struct CommunicationTerm {
  std::string name;
  MeshAxis axis = MeshAxis::kWorld;
  int64_t bytes = 0, messages = 0;
  int64_t calls = 0;             // exchanges that a rank waits for, one after another
  double seconds = 0;            // that they add to the step
  bool behind_backward = false;  // they travel while the last segment runs backward
};

/// One kind of work, or of waiting, of the step.
struct TimeTerm {
  std::string name;
  double seconds = 0;
  std::string
      bound;  // what its time is made of: "flops", "exponentials", "memory", "node link", "network", …
};

struct StepPlan {
  PlannedMesh mesh;
  int64_t micro_batches = 0, segments = 0;  // of a rank
  int64_t forward_runs = 0;  // of a segment, a rank: more than segments where some are run again
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

  /// InputError where this mesh cannot hold this experiment (launch/run_mesh.h),
  /// or the machine has no such link.
  StepPlan plan(const PlannedMesh& mesh);
  /// Of one that takes more memory than the machine has, no more than that: no time, and memory may be a
  /// little more than this.
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
