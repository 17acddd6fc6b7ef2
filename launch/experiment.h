// Experiment: a configuration with everything resolved that the YAML leaves open, and what training it needs.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "configs/schema/load.h"
#include "core/text/tokenizer.h"
#include "launch/assemble.h"
#include "launch/warning.h"

namespace natrix {

struct Experiment {
  LoadedConfig loaded;                   // the same with where each value came from, for printing
  ExperimentConfig config;               // resolved: model from init_from, vocabulary from the tokenizer
  std::unique_ptr<Tokenizer> tokenizer;  // null with data.batches of what is not bytes
  /// The directory of model.init_from, or empty. Where that is gone, and the run in run.dir has checkpoints
  /// of its own: the newest of those.
  std::string init_dir;
  const LayerKinds* kinds = nullptr;  // what the letters of the pattern stand for; never null

  Backend backend() const;
  Dtype dtype() const;
  int threads() const;
  Context context() const;
  /// The model without memory for its parameters: their names and shapes, and what it carries.
  AssembledModel describe() const;
  /// The model with its first weights: those of init_from, or drawn from train.seed.
  /// exchange: between the ranks that hold the experts; null, all of them are here.
  AssembledModel make_model(std::unique_ptr<RowExchange> exchange = nullptr) const;
  /// The model with weights drawn from train.seed, whatever init_from says: for a run that goes on, which
  /// reads those of its checkpoint.
  AssembledModel make_fresh_model(std::unique_ptr<RowExchange> exchange) const;
};

/// InputError where parts of the configuration contradict each other, this build, or the number of ranks.
/// `warn` hears of what is wrong with the checkpoint of init_from and can be put right.
Experiment resolve_experiment(LoadedConfig loaded, int ranks = 1,
                              const std::function<void(const std::string&)>& warn = print_warning,
                              const LayerKinds& kinds = builtin_layer_kinds());

}  // namespace natrix
