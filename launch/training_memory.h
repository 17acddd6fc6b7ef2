// Counts the memory of a training step in a dry run (launch/plan/step_count.h). `train` and `inspect` print
// it, and "micro_batch_size: auto" is computed from it.
#pragma once

#include "launch/experiment.h"
#include "launch/plan/plan.h"

namespace natrix {

/// The largest divisor of `rows` for which the activations of one chunk stay within 1 GiB; at least 1. rows:
/// the rows of one rank in one step. Activations are the arena's peak on a CPU in fp32 with all experts
/// local. The limit does not depend on the machine, so that a configuration runs the same everywhere.
int64_t automatic_micro_batch(const ExperimentConfig& config, int64_t rows,
                              const LayerKinds& kinds = builtin_layer_kinds());

/// The configuration with train.micro_batch_size set to a number. dp: the number of ranks that share the
/// rows.
ExperimentConfig with_micro_batch(const ExperimentConfig& config, int64_t dp,
                                  const LayerKinds& kinds = builtin_layer_kinds());

/// The memory of the rank that needs the most, if `ranks` ranks run the experiment.
RankMemory training_memory(const Experiment& experiment, int ranks = 1);

/// Bytes of activations, in fp32, that each additional token of a segment takes in training.
int64_t activation_bytes_per_token(const ModelConfig& model, const LayerKinds& kinds = builtin_layer_kinds());

}  // namespace natrix
