// A small model trained, or only differentiated, by ranks that are threads.
#pragma once

#include <map>
#include <string>

#include "core/train/train_step.h"
#include "launch/run_mesh.h"
#include "tests/launch/small_model.h"

namespace natrix::test {

/// Weights of the whole model into the share of it that a rank holds.
void copy_weights(Model& whole, Model& share);

/// The same rows in every step.
class FixedRows final : public BatchSource {
 public:
  explicit FixedRows(const SmallBatch& rows) : rows_(rows) {}
  Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const override;
  int64_t batches_per_epoch() const override { return 1; }
  std::string identity() const override { return {}; }

 private:
  const SmallBatch& rows_;
};

/// What one step gives, under the names of a checkpoint's tensors.
struct WholeStep {
  StepFigures figures;
  double norm = 0;
  std::map<std::string, Buffer> gradients;
  std::map<std::string, Buffer> biases;  // of routers, after the step's update
  int64_t bytes_sent = 0;                // by all ranks
};

/// One step of `whole`'s weights, shared out as config.parallel says over so many ranks.
WholeStep step_on_ranks(const ExperimentConfig& config, int ranks, Model& whole, const SmallBatch& rows,
                        Backend backend, DeviceLink link = DeviceLink::kStaged,
                        const LayerKinds& kinds = builtin_layer_kinds());
WholeStep step_alone(const ExperimentConfig& config, Model& whole, const SmallBatch& rows, Backend backend,
                     const LayerKinds& kinds = builtin_layer_kinds());

/// The largest relative difference of any gradient; names must agree.
double difference(const WholeStep& a, const WholeStep& b);

}  // namespace natrix::test
