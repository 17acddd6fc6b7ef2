// Experiment: a configuration with everything resolved that the YAML leaves open, and what training it needs.
#pragma once

#include <memory>
#include <string>

#include "configs/load.h"
#include "core/text/tokenizer.h"
#include "launch/assemble.h"

namespace natrix {

struct Experiment {
  LoadedConfig loaded;                   // the same with where each value came from, for printing
  ExperimentConfig config;               // resolved: model from init_from, vocabulary from the tokenizer
  std::unique_ptr<Tokenizer> tokenizer;  // null with data.batches and a vocabulary that is not bytes
  /// The directory of model.init_from, or empty. Where that is gone, and the run in run.dir has checkpoints
  /// of its own: the newest of those.
  std::string init_dir;

  Backend backend() const;
  Dtype dtype() const;
  int threads() const;
  Context context() const;
  /// The model with its first weights: those of init_from, or drawn from train.seed.
  /// exchange: between the ranks that hold the experts; null, all of them are here.
  AssembledModel make_model(std::unique_ptr<RowExchange> exchange = nullptr) const;
  /// The model with weights drawn from train.seed, whatever init_from says: for a run that goes on, which
  /// reads those of its checkpoint.
  AssembledModel make_fresh_model(std::unique_ptr<RowExchange> exchange) const;
};

/// InputError where parts of the configuration contradict each other, this build, or the number of ranks.
Experiment resolve_experiment(LoadedConfig loaded, int ranks = 1);

}  // namespace natrix
