// Estimates the memory of a training step from the configuration. --dry-run and `inspect` print the estimate,
// and "micro_batch_size: auto" follows from it.
#pragma once

#include <cstdint>

#include "configs/schema/experiment.h"
#include "core/layers/model.h"

namespace natrix {

/// Bytes per token of the activations that backward needs, in f32. An upper estimate: the residual stream,
/// the inputs of every product, and the operands of scans.
int64_t activation_bytes_per_token(const ModelConfig& model);

/// The largest divisor of batch_size for which the activations of one chunk fit into 1 GiB; at least one row.
/// The limit does not depend on the machine's memory, so a configuration runs the same everywhere.
int64_t automatic_micro_batch(const ModelConfig& model, int64_t batch_size, int64_t chunk);

struct MemoryPlan {
  int64_t parameters = 0, gradients = 0, optimizer = 0;
  int64_t activations = 0;  // of one recorded segment
  int64_t boundaries = 0;   // high-water mark
  int64_t total() const { return parameters + gradients + optimizer + activations + boundaries; }
};
/// `model` is the configuration's model. Its parameters need not be allocated (describe_model).
MemoryPlan plan_memory(const ExperimentConfig& config, Model& model);

}  // namespace natrix
