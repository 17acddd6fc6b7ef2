// What a mesh makes of a step: rows, micro-batches, segments and tokens of a rank, and how often they run.
//
//   D d_model, I d_inner, N d_state, K d_conv, E experts, k top_k, P ranks of the axis at hand
#pragma once

#include "launch/plan/plan.h"
#include "launch/plan/segment_runs.h"

namespace natrix {

inline constexpr int64_t kFloat =
    4;  // bytes: of what stays in f32 when activations are bf16, and of them in fp32

struct Workload {
  const ModelConfig& model;
  PlannedMesh mesh;
  int64_t rows = 0;             // of a rank
  int64_t micro_batches = 0;    // into which they are cut
  int64_t segments = 0;         // of a rank's part of a row
  int64_t bucket = 0;           // parallel.bucket
  bool carry_state = false;     // into the next step
  bool shares = false;          // parallel.zero: ranks share out the optimizer's state
  bool together = false;        // sweep 1 of all micro-batches comes before any sweep 2
  int64_t activation = kFloat;  // bytes of one; 2 in bf16
  SegmentRuns runs;             // of one micro-batch

  int64_t segment_tokens = 0;  // most that are alive on a rank: over the rows of a micro-batch
  int64_t last_tokens = 0;     // of the last segment, as many or fewer
  int64_t tokens = 0;          // of the step, on all ranks together
  int64_t forward_tokens = 0;  // run forward there, those that are run again counted again
  double expert_tokens = 0;    // of those, the ones that experts of a layer saw, over all layers

  int64_t mamba_layers = 0, moe_layers = 0, mlp_layers = 0;
  int64_t last_moe_layers = 0;  // of those, after the last Mamba layer
  int64_t meetings = 0;         // MoE layers that a Mamba layer has come before since the last one
  int64_t tail_bytes = 0, state_bytes = 0;  // of one Mamba layer, for the rows of a micro-batch
  int64_t carried_bytes = 0;                // of all states at a boundary, for those rows

  int64_t ranks() const { return mesh.shape.ranks(); }
  /// Activations are bf16, and so are copies of the weights that they are multiplied by (Param::rounded).
  bool rounds() const { return activation < kFloat; }
  /// Forward and backward runs of a segment, of one rank and step.
  int64_t forward_runs() const { return micro_batches * runs.forward_total(); }
  int64_t backward_runs() const { return micro_batches * segments; }
  /// Forward runs of MoE layers' experts on a segment of one micro-batch. A pass over it leaves out those
  /// whose output nothing needs: on a first visit the last layer's, where no Mamba layer follows, later all
  /// such layers' (Layer::leaves_behind).
  int64_t expert_runs(int64_t segment) const;
  /// Of all segments and micro-batches.
  int64_t expert_runs() const;
};

/// The experiment on this mesh: what a run on it would be configured as.
ExperimentConfig on_mesh(const ExperimentConfig& config, const PlannedMesh& mesh);

/// `config` is borrowed; `needs` are those of its model. InputError where the mesh cannot hold it.
Workload workload_of(const ExperimentConfig& config, const MeshNeeds& needs, const PlannedMesh& mesh);

}  // namespace natrix
