// How much memory a step of training takes, from a dry run of it (launch/plan/step_count.h): what train and
// inspect print, and what "micro_batch_size: auto" is derived from.
#pragma once

#include "launch/experiment.h"
#include "launch/plan/plan.h"

namespace natrix {

/// The largest divisor of `rows`, a rank's of a step, of which the activations of a chunk, the arena's peak,
/// stay within a gigabyte; at least one row. A fixed figure, not the machine's memory, and counted as in fp32
/// on a CPU with all experts at home, so that the same configuration runs the same everywhere.
int64_t automatic_micro_batch(const ExperimentConfig& config, int64_t rows,
                              const LayerKinds& kinds = builtin_layer_kinds());

/// The configuration with a number as train.micro_batch_size, for ranks that share out the rows over dp.
ExperimentConfig with_micro_batch(const ExperimentConfig& config, int64_t dp,
                                  const LayerKinds& kinds = builtin_layer_kinds());

/// Of the rank that holds most, where so many run the experiment.
RankMemory training_memory(const Experiment& experiment, int ranks = 1);

/// Bytes of activations that training takes for one more token of a segment, in fp32.
int64_t activation_bytes_per_token(const ModelConfig& model);

}  // namespace natrix
