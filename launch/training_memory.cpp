#include "launch/training_memory.h"

#include <algorithm>
#include <utility>

#include "launch/plan/step_count.h"

namespace natrix {
namespace {

/// The arena's peak for a segment that is recorded and run backward. It does not depend on the machine.
class Activations {
 public:
  Activations(ExperimentConfig config, const LayerKinds& kinds)
      : dry_(in_fp32(std::move(config)), kinds, {}, 0, Backend::kCpu) {}
  int64_t bytes(int64_t rows, int64_t tokens) {
    return dry_.run({.rows = rows, .tokens = tokens, .recorded = true}).arena;
  }

 private:
  static ExperimentConfig in_fp32(ExperimentConfig config) {
    config.device.dtype = DeviceDtype::kFp32;
    return config;
  }

  DryRank dry_;
};

}  // namespace

int64_t automatic_micro_batch(const ExperimentConfig& config, int64_t rows, const LayerKinds& kinds) {
  constexpr int64_t kBudget = int64_t{1} << 30;
  Activations activations(config, kinds);
  const int64_t tokens = std::min(config.sequence.chunk, config.sequence.length);
  int64_t best = 1;
  for (int64_t m = 1; m <= rows; ++m) {
    if (rows % m != 0) continue;
    if (activations.bytes(m, tokens) > kBudget) break;
    best = m;
  }
  return best;
}

ExperimentConfig with_micro_batch(const ExperimentConfig& config, int64_t dp, const LayerKinds& kinds) {
  ExperimentConfig c = config;
  if (!c.train.micro_batch_size) {
    c.train.micro_batch_size = automatic_micro_batch(c, c.train.batch_size / dp, kinds);
  }
  return c;
}

RankMemory training_memory(const Experiment& e, int ranks) {
  const MeshShape shape = settle_mesh(e.config.parallel, ranks);
  const ExperimentConfig config = with_micro_batch(e.config, shape.dp, *e.kinds);
  return StepCounter(config, e.backend(), *e.kinds)
      .count({.shape = shape,
              .cp_link = config.parallel.cp_link,
              .micro_batch = *config.train.micro_batch_size,
              .chunk = config.sequence.chunk})
      .memory;
}

int64_t activation_bytes_per_token(const ModelConfig& model, const LayerKinds& kinds) {
  constexpr int64_t kTokens = 4096;  // longer than a tile of the head
  ExperimentConfig config;
  config.model = model;
  Activations activations(config, kinds);
  return (activations.bytes(1, 2 * kTokens) - activations.bytes(1, kTokens)) / kTokens;
}

}  // namespace natrix
