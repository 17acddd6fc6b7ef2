#include "launch/training_memory.h"

#include <algorithm>

#include "launch/plan/step_count.h"

namespace natrix {
namespace {

/// Of one row, recorded and run backward, on a CPU.
int64_t activation_bytes(const ExperimentConfig& config, int64_t tokens, const LayerKinds& kinds) {
  ExperimentConfig c = config;
  c.device.dtype = DeviceDtype::kFp32;
  return DryRank(c, kinds, {}, 0, Backend::kCpu).run({.rows = 1, .tokens = tokens, .recorded = true}).arena;
}

}  // namespace

int64_t automatic_micro_batch(const ExperimentConfig& config, int64_t rows, const LayerKinds& kinds) {
  constexpr int64_t kBudget = int64_t{1} << 30;
  const int64_t row =
      activation_bytes(config, std::min(config.sequence.chunk, config.sequence.length), kinds);
  int64_t best = 1;
  for (int64_t m = 1; m <= rows; ++m) {
    if (rows % m == 0 && m * row <= kBudget) best = m;
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

int64_t activation_bytes_per_token(const ModelConfig& model) {
  constexpr int64_t kTokens = 1024;
  ExperimentConfig config;
  config.model = model;
  const auto bytes = [&](int64_t tokens) { return activation_bytes(config, tokens, builtin_layer_kinds()); };
  return (bytes(2 * kTokens) - bytes(kTokens)) / kTokens;
}

}  // namespace natrix
