// How much memory a training step needs, counted from the configuration: what --dry-run and `inspect` print,
// and what "micro_batch_size: auto" is derived from.
#pragma once

#include <cstdint>

#include "configs/schema/experiment.h"
#include "core/layers/model.h"

namespace natrix {

/// Bytes of activations that backward needs, a token, in fp32 (an upper estimate: residual stream, inputs of
/// every product, scan operands).
int64_t activation_bytes_per_token(const ModelConfig& model);

/// The largest divisor of batch_size whose activations of one chunk stay within a gigabyte; at least one row.
/// A fixed figure, not the machine's memory, so that the same configuration runs the same everywhere.
int64_t automatic_micro_batch(const ModelConfig& model, int64_t batch_size, int64_t chunk);

struct MemoryPlan {
  int64_t parameters = 0, gradients = 0, optimizer = 0;
  int64_t activations = 0;  // of one recorded segment
  int64_t boundaries = 0;   // held at once
  int64_t total() const { return parameters + gradients + optimizer + activations + boundaries; }
};
/// `model` is that of the configuration; it needs no memory of its own (describe_model).
MemoryPlan plan_memory(const ExperimentConfig& config, Model& model);

}  // namespace natrix
